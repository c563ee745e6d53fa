"""An encoder cut in two at a representation of the waveform: noise that enters there certifies that representation.

O'Reilly, "Towards Certified Adversarial Robustness for Audio Classification", smooths at the waveform, at the magnitude
spectrogram and at normalised mel energies; the certificate is then about what the second half hears.
"""

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from voxcert.encoders.base import FeatureEncoder

Representation = Literal["magnitude", "features"]


class SplitEncoder(nn.Module):
    """The rest of an encoder behind a representation: flat representation (batch, size) -> unit embedding (batch, dim).

    A representation of `frames` frames is handed on as one row of `frames * width` numbers, which is what a certifier
    adds noise to; any number of frames is taken.

    Args:
        encoder: The whole encoder.
        at: `magnitude`, the magnitude spectrogram in waveform amplitude, or `features`, what the network gets.

    Raises:
        ValueError: If `at` is neither, or the encoder has no front-end to be cut at.
    """

    def __init__(self, encoder: nn.Module, at: Representation):
        super().__init__()
        if not isinstance(encoder, FeatureEncoder):
            name = type(encoder).__name__
            raise ValueError(f"noise can enter at {at!r} only in an encoder with a front-end, got {name}: use waveform")
        if at not in ("magnitude", "features"):
            raise ValueError(f"at must be 'magnitude' or 'features', got {at!r}")
        self.encoder, self.at = encoder, at
        frontend = encoder.frontend
        self.dim, self.width = encoder.dim, frontend.num_bins if at == "magnitude" else frontend.num_features

    def represent(self, waveform: Tensor) -> Tensor:
        """Maps waveforms (batch, time) to flat representations (batch, frames * width)."""
        frontend = self.encoder.frontend
        return (frontend.magnitude if self.at == "magnitude" else frontend)(waveform).flatten(1)

    def forward(self, representation: Tensor) -> Tensor:
        """Maps flat representations (batch, frames * width) to unit embeddings (batch, dim)."""
        frames = representation.unflatten(1, (-1, self.width))
        features = self.encoder.frontend.features(frames) if self.at == "magnitude" else frames
        return F.normalize(self.encoder.embed_features(features).float(), dim=-1)
