"""Pooling of frames by mean and standard deviation, with wespeaker's floor under the variance (its TSTP).

Snyder et al. 2018, "X-vectors: robust DNN embeddings for speaker recognition", section 2.
"""

import torch
from torch import Tensor, nn

VARIANCE_FLOOR = 1e-7


class StatisticsPooling(nn.Module):
    """Maps (batch, ..., frames) to means and standard deviations over frames, (batch, 2 * everything between).

    In float32 under autocast too: a bf16 variance of large values has no digits left.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Pools (batch, ..., frames), of at least two frames, to (batch, 2 * channels)."""
        with torch.autocast(x.device.type, enabled=False):
            x = x.float().flatten(1, -2)
            return torch.cat([x.mean(dim=-1), (x.var(dim=-1) + VARIANCE_FLOOR).sqrt()], dim=1)


def require_frames(features: Tensor, least: int) -> None:
    """Raises ValueError if features (batch, frames, num_features) have too few frames for a standard deviation."""
    if features.shape[1] < least:
        raise ValueError(
            f"features must have at least {least} frames, got {features.shape[1]}: the waveform is too short to pool"
        )
