"""Deep Speaker's residual network on mel energies, with the weights that philipperemy/deep-speaker published for Keras.

Li et al. 2017, "Deep Speaker: an end-to-end neural speaker embedding system" (arXiv 1705.02304). O'Reilly, "Towards
Certified Adversarial Robustness for Audio Classification", adds noise before, in and after its front-end.
"""

import re
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from voxcert.encoders.base import FeatureEncoder
from voxcert.encoders.checkpoint import CheckpointError
from voxcert.encoders.frontends import SAMPLE_RATE, Frontend
from voxcert.encoders.networks.deep_speaker import ResCNN
from voxcert.encoders.published.keras import read_keras

FFT_SIZE, WINDOW, HOP = 512, 400, 160  # samples


class DeepSpeaker(FeatureEncoder):
    """Deep Speaker (ResCNN) on normalised mel energies.

    The published program embeds 160 frames from between the first and the last loud sample; here all are embedded.

    Args:
        num_mels: Mel bands, a multiple of 16.
        channels: Width of the first of the four stages.
        dim: Size of the embedding.

    Raises:
        ValueError: If `num_mels` is no multiple of 16, or if a waveform is shorter than one frame (400 samples).
    """

    def __init__(self, num_mels: int = 64, channels: int = 64, dim: int = 512):
        super().__init__()
        if num_mels < 16 or num_mels % 16:
            raise ValueError(f"num_mels must be a positive multiple of 16, got {num_mels}")
        self.dim = dim
        self.frontend = MelEnergies(num_mels)
        self.network = ResCNN(num_mels, channels, dim)

    def embed_features(self, features: Tensor) -> Tensor:
        """Embeds features (batch, frames, num_mels) as (batch, dim), not normalised."""
        return self.network(features)


class MelEnergies(Frontend):
    """Mel energies, not their logarithms, brought to zero mean and unit variance over the bands of every frame.

    Equal to python_speech_features.fbank with its defaults (frames of 25 ms every 10 ms without a window, pre-emphasis
    of 0.97, filters between FFT bins), so normalised. The last frame is filled up with zeros.

    Args:
        num_mels: Mel bands between 0 and 8 kHz.
    """

    mel_banks: Tensor

    def __init__(self, num_mels: int):
        super().__init__()
        self.num_bins, self.num_features = FFT_SIZE // 2 + 1, num_mels
        self.description = f"{num_mels} mel energies (not log), 25/10 ms, each frame standardised"
        self.register_buffer("mel_banks", _mel_banks(num_mels), persistent=False)

    def _magnitude(self, waveform: Tensor) -> Tensor:
        if waveform.shape[1] < WINDOW:
            raise ValueError(f"waveform must have at least {WINDOW} samples, got {waveform.shape[1]}")
        emphasised = torch.cat([waveform[:, :1], waveform[:, 1:] - 0.97 * waveform[:, :-1]], dim=1)
        padded = F.pad(emphasised, (0, (WINDOW - waveform.shape[1]) % HOP))
        return torch.fft.rfft(padded.unfold(-1, WINDOW, HOP), n=FFT_SIZE).abs()

    def _features(self, magnitude: Tensor) -> Tensor:
        energies = magnitude.square() @ self.mel_banks / FFT_SIZE
        centred = energies - energies.mean(dim=-1, keepdim=True)
        variance = centred.square().mean(dim=-1, keepdim=True)
        return centred / variance.clamp(min=1e-24).sqrt()  # clamped first, so that silence has a gradient: zero


def _mel_banks(num_mels: int) -> Tensor:
    """Triangles between FFT bins that are evenly spaced in mel, rounded down; shape (num_bins, num_mels)."""
    highest = 2595 * torch.log10(torch.tensor(1 + SAMPLE_RATE / 2 / 700, dtype=torch.float64))
    mel = torch.linspace(0, highest, num_mels + 2, dtype=torch.float64)
    edges = ((FFT_SIZE + 1) * 700 * (10 ** (mel / 2595) - 1) / SAMPLE_RATE).floor()
    low, peak, high = edges[:-2], edges[1:-1], edges[2:]
    bins = torch.arange(FFT_SIZE // 2 + 1).unsqueeze(1)
    rising = (bins - low) / (peak - low).clamp(min=1)
    falling = (high - bins) / (high - peak).clamp(min=1)
    banks = torch.where(bins < peak, rising, falling)
    return torch.where((bins >= low) & (bins < high), banks, 0.0).float()


def load_deep_speaker(path: Path) -> DeepSpeaker:
    """Loads a Keras `.h5` file of deep-speaker, such as ResCNN_triplet_training_checkpoint_265.h5.

    A classifier that is left from pre-training is dropped. Needs h5py: `pip install "voxcert[keras-weights]"`.

    Args:
        path: The file: weights, or a whole model with its weights.

    Raises:
        CheckpointError: If h5py is not installed, the file is not HDF5, or it does not hold this network's weights.
    """
    layers = read_keras(path)
    try:
        channels = min(int(found[1]) for layer in layers if (found := re.fullmatch(r"conv(\d+)-s", layer)))
        dim, inputs = layers["affine"]["weight"].shape
        encoder = DeepSpeaker(num_mels=16 * inputs // (8 * channels), channels=channels, dim=dim)
        names = _module_names(channels)
        encoder.network.load_state_dict(
            {
                f"{names.get(layer, layer)}.{name}": value
                for layer, weights in layers.items()
                for name, value in weights.items()
                if not re.fullmatch(r"dense(_\d+)?", layer)
            }
        )
    except (KeyError, RuntimeError, ValueError) as error:
        raise CheckpointError(f"{path} does not hold the weights of Deep Speaker's ResCNN: {error}") from error
    return encoder.eval()


def _module_names(channels: int) -> dict[str, str]:
    """Layers of the published model -> modules of ResCNN."""
    names = {"affine": "affine"}
    for stage in range(4):
        conv = f"conv{channels * 2**stage}-s"
        names |= {conv: f"stages.{stage}.conv", f"{conv}_bn": f"stages.{stage}.bn"}
        for block in range(3):
            for index, branch in enumerate(("2a", "2b"), start=1):
                layer, module = f"res{stage + 1}_{block}_branch_{branch}", f"stages.{stage}.blocks.{block}"
                names |= {layer: f"{module}.conv{index}", f"{layer}_bn": f"{module}.bn{index}"}
    return names
