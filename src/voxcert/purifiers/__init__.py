"""Purifiers, waveform (batch, time) -> the same shape: `nn.Sequential(purifier, encoder)` is a defended encoder.

Filters need no training; `load_purifier` loads what diffuses. What is said may guide it: `Aud2Vec` hears it, a
`TextEmbedder` embeds a transcript.
"""

from voxcert.purifiers.base import TEXT_DIM, Purifier
from voxcert.purifiers.checkpoint import load_purifier
from voxcert.purifiers.conditioner import Conditioner
from voxcert.purifiers.diffusion import DiffusionPurifier, OneShotDenoiser
from voxcert.purifiers.filters import AddNoise, Codec, GaussianFilter, MeanFilter, MedianFilter, Quantise
from voxcert.purifiers.hearing import Aud2Vec, AudioLanguageModel, SpeechRecognition
from voxcert.purifiers.networks import DiffWave, SpectralDiffWave
from voxcert.purifiers.schedule import PurificationScheduler
from voxcert.purifiers.text import DebertaText, HashedText, TextEmbedder

__all__ = [
    "TEXT_DIM",
    "AddNoise",
    "Aud2Vec",
    "AudioLanguageModel",
    "Codec",
    "Conditioner",
    "DebertaText",
    "DiffWave",
    "DiffusionPurifier",
    "GaussianFilter",
    "HashedText",
    "MeanFilter",
    "MedianFilter",
    "OneShotDenoiser",
    "PurificationScheduler",
    "Purifier",
    "Quantise",
    "SpectralDiffWave",
    "SpeechRecognition",
    "TextEmbedder",
    "load_purifier",
]
