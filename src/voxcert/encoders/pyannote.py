"""pyannote's x-vector on trainable SincNet filters, the network being the package's own.

Coria et al. 2020, "A comparison of metric learning loss functions for end-to-end speaker verification" (arXiv
2003.14021); an optional extra: `pip install "voxcert[pyannote]"`.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

from voxcert.encoders.base import Encoder
from voxcert.encoders.checkpoint import CheckpointError, read_pickled

RECORDS = ("pyannote.", "pytorch_lightning.", "lightning.", "torch.torch_version.TorchVersion")


class PyannoteXVector(Encoder):
    """XVectorSincNet of pyannote.audio; the defaults are those of pyannote/embedding.

    Args:
        dim: Size of the embedding.
        stride: Hop of the sinc filters, samples.

    Raises:
        ValueError: If the package is not installed, or if a waveform is too short for two frames.
    """

    def __init__(self, dim: int = 512, stride: int = 10):
        super().__init__()
        self.dim = dim
        self.network = _package().XVectorSincNet(sincnet={"stride": stride}, dimension=dim)
        self.least_samples = self.network.receptive_field_size(num_frames=2)  # two frames have a standard deviation

    def embed(self, waveform: Tensor) -> Tensor:
        """Embeds waveforms (batch, time) as (batch, dim), not normalised."""
        if waveform.shape[1] < self.least_samples:
            raise ValueError(f"waveform must have at least {self.least_samples} samples, got {waveform.shape[1]}")
        with torch.autocast(waveform.device.type, enabled=False):  # the sinc filters divide by their own band
            frames = self.network.sincnet(waveform.float()[:, None])
        for layer in self.network.tdnns:
            frames = layer(frames)
        return self.network.embedding(self.network.stats_pool(frames.float()))


def load_pyannote(folder: Path) -> PyannoteXVector:
    """Loads a local copy of pyannote/embedding.

    Args:
        folder: Folder with `pytorch_model.bin`, a Lightning checkpoint.

    Raises:
        CheckpointError: If the file holds anything but tensors, plain values and records of pyannote's and Lightning's,
            or is the checkpoint of another network.
        ValueError: If the package is not installed.
    """
    path = folder / "pytorch_model.bin"
    checkpoint = _read(path)
    try:
        settings = checkpoint["hyper_parameters"]
        state = {name: value for name, value in checkpoint["state_dict"].items() if not name.startswith("loss_func.")}
        if settings.get("sample_rate", 16_000) != 16_000:
            raise CheckpointError(f"{path} must be for waveforms at 16000 Hz, got {settings['sample_rate']} Hz")
        sincnet = settings.get("sincnet", {})
        encoder = PyannoteXVector(settings.get("dimension", 512), sincnet.get("stride", 10))
        encoder.network.load_state_dict(state)
    except (KeyError, AttributeError, TypeError, RuntimeError) as error:
        raise CheckpointError(f"{path} does not hold the weights of an XVectorSincNet: {error}") from error
    return encoder.eval()


def _package():
    try:
        from pyannote.audio.models.embedding import xvector
    except ImportError as error:
        raise ValueError(f'this encoder needs pyannote.audio: pip install "voxcert[pyannote]" ({error})') from error
    return xvector


class _Husk:
    """Stands in for a class that a checkpoint names beside the weights: takes anything and does nothing."""

    def __init__(self, *args: object):
        pass

    def __setstate__(self, state: object) -> None:
        pass


def _read(path: Path) -> Any:
    """Reads a checkpoint with husks in place of training's records, so that no class of another package comes to life.

    The published file names classes of callbacks, versions and task descriptions, which need not be installed today.
    """
    try:
        names = get_unsafe_globals_in_checkpoint(path)
    except Exception:  # missing, or no file of torch: `read_pickled` says so
        names = []
    with safe_globals([(_Husk, name) for name in names if name.startswith(RECORDS)]):
        return read_pickled(path)
