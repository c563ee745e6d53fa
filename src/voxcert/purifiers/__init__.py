"""Purifiers, waveform (batch, time) -> the same shape: `nn.Sequential(purifier, encoder)` is a defended encoder."""

from voxcert.purifiers.base import TEXT_DIM, Purifier
from voxcert.purifiers.filters import AddNoise, Codec, GaussianFilter, MeanFilter, MedianFilter, Quantise

__all__ = [
    "TEXT_DIM",
    "AddNoise",
    "Codec",
    "GaussianFilter",
    "MeanFilter",
    "MedianFilter",
    "Purifier",
    "Quantise",
]
