"""ECAPA-TDNN (Desplanques et al. 2020, arXiv 2005.07143) with wespeaker's state-dict names and front-end.

It differs from speechbrain's (`ecapa.ECAPA`) in features, widths and names of weights; wespeaker calls it
ECAPA_TDNN_GLOB, for the global context of its attention, and `load_wespeaker` reads its folders.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from voxcert.encoders.base import FeatureEncoder
from voxcert.encoders.frontends import KaldiFbank
from voxcert.encoders.networks.pooling import VARIANCE_FLOOR, require_frames

NUM_GROUPS = 8
LEAST_FRAMES = 2


class ECAPAGlob(FeatureEncoder):
    """ECAPA-TDNN on Kaldi filterbanks; the defaults are wespeaker's VoxCeleb ECAPA512, `channels=1024` its ECAPA1024.

    Args:
        channels: Width of the convolution blocks, a multiple of 8.
        mfa_channels: Width of the multi-layer feature aggregation before pooling.
        dim: Size of the embedding.
        attention_channels: Bottleneck of the attentive statistics pooling.
        se_channels: Bottleneck of the squeeze-and-excitation blocks.
        num_mels: Mel bands.
        window: Window function; hamming for all published weights.
        scale: Factor of the waveform; 32768 for all published weights, which know int16 amplitudes.

    Raises:
        ValueError: If `channels` is no multiple of 8, or if a waveform is shorter than 2 frames (560 samples).
    """

    def __init__(
        self,
        channels: int = 512,
        mfa_channels: int = 1536,
        dim: int = 192,
        attention_channels: int = 128,
        se_channels: int = 128,
        num_mels: int = 80,
        window: Literal["hamming", "povey"] = "hamming",
        scale: float = 32768.0,
    ):
        super().__init__()
        if channels < NUM_GROUPS or channels % NUM_GROUPS:
            raise ValueError(f"channels must be a positive multiple of {NUM_GROUPS}, got {channels}")
        self.dim = dim
        self.frontend = KaldiFbank(num_mels, window, scale)
        self.network = ECAPAGlobNetwork(channels, mfa_channels, dim, attention_channels, se_channels, num_mels)

    def embed_features(self, features: Tensor) -> Tensor:
        """Embeds Kaldi features (batch, frames, num_mels) as (batch, dim), not normalised."""
        return self.network(features)


class ECAPAGlobNetwork(nn.Module):
    """The network alone, features (batch, frames, num_mels) to (batch, dim); arguments as for `ECAPAGlob`."""

    def __init__(
        self, channels: int, mfa_channels: int, dim: int, attention_channels: int, se_channels: int, num_mels: int
    ):
        super().__init__()
        self.layer1 = ConvReluNorm(num_mels, channels, kernel_size=5)
        self.layer2 = SERes2Block(channels, dilation=2, se_channels=se_channels)
        self.layer3 = SERes2Block(channels, dilation=3, se_channels=se_channels)
        self.layer4 = SERes2Block(channels, dilation=4, se_channels=se_channels)
        self.conv = nn.Conv1d(3 * channels, mfa_channels, 1)
        self.pool = AttentivePooling(mfa_channels, attention_channels)
        self.bn = nn.BatchNorm1d(2 * mfa_channels)
        self.linear = nn.Linear(2 * mfa_channels, dim)

    def forward(self, features: Tensor) -> Tensor:
        """Embeds features (batch, frames, num_mels) of at least 2 frames as (batch, dim)."""
        require_frames(features, LEAST_FRAMES)
        outputs = [self.layer1(features.transpose(1, 2))]
        for layer in (self.layer2, self.layer3, self.layer4):
            outputs.append(layer(outputs[-1]))
        x = F.relu(self.conv(torch.cat(outputs[1:], dim=1)))
        return self.linear(self.bn(self.pool(x)))


class ConvReluNorm(nn.Module):
    """Convolution over frames, ReLU and batch normalisation, in this order."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int):
        super().__init__()
        self.conv = nn.Conv1d(in_channels, out_channels, kernel_size, padding=kernel_size // 2)
        self.bn = nn.BatchNorm1d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (batch, in_channels, frames) to (batch, out_channels, frames)."""
        return self.bn(F.relu(self.conv(x)))


class Res2Conv(nn.Module):
    """Dilated convolutions of eight groups of channels, each hearing the one before; the last group passes as it is."""

    def __init__(self, channels: int, dilation: int):
        super().__init__()
        width = channels // NUM_GROUPS
        self.convs = nn.ModuleList(
            nn.Conv1d(width, width, 3, padding=dilation, dilation=dilation) for _ in range(NUM_GROUPS - 1)
        )
        self.bns = nn.ModuleList(nn.BatchNorm1d(width) for _ in range(NUM_GROUPS - 1))

    def forward(self, x: Tensor) -> Tensor:
        """Maps (batch, channels, frames) to the same shape."""
        *groups, last = x.chunk(NUM_GROUPS, dim=1)
        outputs: list[Tensor] = []
        for group, conv, bn in zip(groups, self.convs, self.bns, strict=True):
            outputs.append(bn(F.relu(conv(outputs[-1] + group if outputs else group))))
        return torch.cat([*outputs, last], dim=1)


class SqueezeExcitation(nn.Module):
    """Channels scaled by what their means over the utterance say."""

    def __init__(self, channels: int, bottleneck: int):
        super().__init__()
        self.linear1 = nn.Linear(channels, bottleneck)
        self.linear2 = nn.Linear(bottleneck, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (batch, channels, frames) to the same shape."""
        scale = torch.sigmoid(self.linear2(F.relu(self.linear1(x.mean(dim=-1)))))
        return x * scale.unsqueeze(-1)


class SERes2Block(nn.Module):
    """SE-Res2Block (section 3.2), residual."""

    def __init__(self, channels: int, dilation: int, se_channels: int):
        super().__init__()
        self.se_res2block = nn.Sequential(
            ConvReluNorm(channels, channels, kernel_size=1),
            Res2Conv(channels, dilation),
            ConvReluNorm(channels, channels, kernel_size=1),
            SqueezeExcitation(channels, se_channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Maps (batch, channels, frames) to the same shape."""
        return x + self.se_res2block(x)


class AttentivePooling(nn.Module):
    """Mean and standard deviation under attention per channel that knows the utterance's own (section 3.1)."""

    def __init__(self, channels: int, bottleneck: int):
        super().__init__()
        self.linear1 = nn.Conv1d(3 * channels, bottleneck, 1)
        self.linear2 = nn.Conv1d(bottleneck, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (batch, channels, frames), of at least two frames, to (batch, 2 * channels)."""
        with torch.autocast(x.device.type, enabled=False):  # variances need float32
            x = x.float()
            mean, std = x.mean(dim=-1, keepdim=True), (x.var(dim=-1, keepdim=True) + VARIANCE_FLOOR).sqrt()
            context = torch.cat([x, mean.expand_as(x), std.expand_as(x)], dim=1)
            weights = self.linear2(torch.tanh(self.linear1(context))).softmax(dim=-1)
            mean = (weights * x).sum(dim=-1, keepdim=True)
            variance = (weights * (x - mean).square()).sum(dim=-1).clamp(min=VARIANCE_FLOOR)
            return torch.cat([mean.squeeze(-1), variance.sqrt()], dim=1)
