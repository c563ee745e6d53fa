"""Purifiers, waveform (batch, time) -> the same shape, to be put before an encoder: `nn.Sequential(purifier, encoder)`."""

from voxcert.purifiers.base import TEXT_DIM, Purifier

__all__ = ["TEXT_DIM", "Purifier"]
