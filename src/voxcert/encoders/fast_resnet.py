"""Fast ResNet-34 of voxceleb_trainer in both published forms, with a front-end that lets gradients through.

Chung et al. 2020, "In defence of metric learning for speaker recognition" (arXiv 2003.11982), and the larger network of
Heo et al. 2020, "Clova baseline system for the VoxCeleb Speaker Recognition Challenge 2020" (arXiv 2009.14153).
"""

from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torchaudio.functional import melscale_fbanks

from voxcert.encoders.base import FeatureEncoder
from voxcert.encoders.checkpoint import CheckpointError, read_pickled
from voxcert.encoders.frontends import SAMPLE_RATE, Frontend
from voxcert.encoders.networks.fast_resnet import REDUCTION, ResNetSE34L, ResNetSE34V2

FFT_SIZE, WINDOW, HOP = 512, 400, 160  # samples
FRONTEND_NAMES = {
    "torchfb.spectrogram.window": "frontend.window",
    "torchfb.mel_scale.fb": "frontend.mel_banks",
    "torchfb.0.flipped_filter": "frontend.flipped_filter",
    "torchfb.1.spectrogram.window": "frontend.window",
    "torchfb.1.mel_scale.fb": "frontend.mel_banks",
}
"""Published name -> own name: the front-end is inside the network there, behind the pre-emphasis if there is one."""


class FastResNet34(FeatureEncoder):
    """Fast ResNet-34 on standardised log-mel features.

    Args:
        variant: The pooling that tells the two published networks apart. `sap`: ResNetSE34L, self-attentive pooling,
            published with 16 channels and 40 mel bands; `asp`: ResNetSE34V2, attentive statistics pooling, with
            pre-emphasis, published with 32 channels and 64 mel bands.
        channels: Width of the first of the four layers, a multiple of 8.
        num_mels: Mel bands between 0 and 8 kHz; for `asp` a multiple of 8.
        dim: Size of the embedding.

    Raises:
        ValueError: If an argument is none of these.
    """

    def __init__(self, variant: Literal["sap", "asp"] = "sap", channels: int = 16, num_mels: int = 40, dim: int = 512):
        super().__init__()
        if variant not in ("sap", "asp"):
            raise ValueError(f"variant must be 'sap' or 'asp', got {variant!r}")
        if channels < REDUCTION or channels % REDUCTION:
            raise ValueError(f"channels must be a positive multiple of {REDUCTION}, got {channels}")
        if variant == "asp" and (num_mels < 8 or num_mels % 8):
            raise ValueError(f"num_mels must be a positive multiple of 8 for variant 'asp', got {num_mels}")
        self.dim = dim
        self.frontend = StandardizedLogMel(num_mels, preemphasis=variant == "asp")
        sap = variant == "sap"
        self.network = ResNetSE34L(channels, dim) if sap else ResNetSE34V2(channels, num_mels, dim)

    def embed_features(self, features: Tensor) -> Tensor:
        """Embeds features (batch, frames, num_mels) as (batch, dim), not normalised."""
        return self.network(features)


class StandardizedLogMel(Frontend):
    """Log-mel energies, brought to zero mean and unit variance over time in every band of every utterance.

    Hamming windows of 25 ms every 10 ms, centred on their frame: the signal is mirrored at its ends.

    Args:
        num_mels: Mel bands between 0 and 8 kHz.
        preemphasis: Whether the waveform is filtered by 1 - 0.97 z^-1 first.

    Raises:
        ValueError: If a waveform is too short to be mirrored.
    """

    window: Tensor
    mel_banks: Tensor
    flipped_filter: Tensor | None

    def __init__(self, num_mels: int, preemphasis: bool):
        super().__init__()
        self.num_bins, self.num_features = FFT_SIZE // 2 + 1, num_mels
        self.description = f"{num_mels} log-mel, hamming 25/10 ms, each band standardised over time"
        self.register_buffer("window", torch.hamming_window(WINDOW))
        self.register_buffer("mel_banks", melscale_fbanks(self.num_bins, 0, SAMPLE_RATE / 2, num_mels, SAMPLE_RATE))
        self.register_buffer("flipped_filter", torch.tensor([[[-0.97, 1.0]]]) if preemphasis else None)

    def _magnitude(self, waveform: Tensor) -> Tensor:
        if waveform.shape[-1] <= FFT_SIZE // 2:
            raise ValueError(f"waveform must have more than {FFT_SIZE // 2} samples, got {waveform.shape[-1]}")
        if self.flipped_filter is not None:
            mirrored = F.pad(waveform.unsqueeze(1), (1, 0), mode="reflect")
            waveform = F.conv1d(mirrored, self.flipped_filter).squeeze(1)
        spectrum = torch.stft(waveform, FFT_SIZE, HOP, WINDOW, self.window, return_complex=True)
        return spectrum.abs().transpose(1, 2)

    def _features(self, magnitude: Tensor) -> Tensor:
        log = (magnitude.square() @ self.mel_banks + 1e-6).log()
        return F.instance_norm(log.transpose(1, 2)).transpose(1, 2)


def load_voxceleb_trainer(path: Path) -> FastResNet34:
    """Loads a `.model` file of voxceleb_trainer, such as baseline_lite_ap.model or baseline_v2_ap.model.

    Which network it is, and how wide, follows from the weights; those of the training loss are dropped.

    Args:
        path: The file: a state dict, bare or under `model` or `model_state_dict`, with or without the prefixes of
            the trainer's wrappers.

    Raises:
        CheckpointError: If the file is not a plain state dict, or not that of one of the two networks.
    """
    content = read_pickled(path)
    try:
        state = _speaker_network(content)
        encoder = FastResNet34(
            variant="asp" if "network.attention.0.weight" in state else "sap",
            channels=state["network.conv1.weight"].shape[0],
            num_mels=state["frontend.mel_banks"].shape[1],
            dim=state["network.fc.weight"].shape[0],
        )
        encoder.load_state_dict(state)
    except (KeyError, AttributeError, TypeError, RuntimeError, ValueError) as error:
        raise CheckpointError(f"{path} does not hold the weights of a Fast ResNet-34: {error}") from error
    return encoder.eval()


def _speaker_network(content: dict[str, Any]) -> dict[str, Tensor]:
    """The state dict of the encoder in what a file holds, under this module's names."""
    state = content.get("model_state_dict", content.get("model", content))
    bare = {name.removeprefix("module.").removeprefix("__S__."): value for name, value in state.items()}
    return {
        FRONTEND_NAMES.get(name, f"network.{name}"): value
        for name, value in bare.items()
        if not name.startswith("__L__.")
    }
