"""SincNet's speaker network as an encoder: d-vectors of short chunks of the waveform, averaged over the utterance.

Ravanelli and Bengio 2018, "Speaker recognition from raw waveform with SincNet" (arXiv 1808.00158); posteriors of chunks
and of d-vectors are there too, for model inversion (Pizzi et al. 2023, arXiv 2301.03206) descends their gradients.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from voxcert.encoders.base import Encoder
from voxcert.encoders.checkpoint import CheckpointError, read_pickled
from voxcert.encoders.frontends import SAMPLE_RATE
from voxcert.encoders.networks.sincnet import Classifier, Convolutions, Perceptron

UNUSED = {"cnn": ("bn.",), "dnn1": ("ln.",), "dnn2": ("bn.", "ln.")}
"""Normalisations that every published file holds and no published network uses, by block."""


class SincNet(Encoder):
    """SincNet: the mean of the unit d-vectors of an utterance's chunks.

    The loudness of a waveform does not matter, since every chunk is normalised first.

    Args:
        num_classes: Training speakers, that is posteriors.
        chunk_samples: Length of a chunk.
        hop_samples: Step between chunks; all whole chunks are taken, the published program leaves out the last.
        least_energy: Chunks with less than this share of the mean energy of the utterance's chunks are left out.
        num_filters: Sinc filters.
        channels: Width of the other convolutions.
        dim: Size of a d-vector.
    """

    def __init__(
        self,
        num_classes: int = 462,
        chunk_samples: int = 3200,
        hop_samples: int = 160,
        least_energy: float = 0.1,
        num_filters: int = 80,
        channels: int = 60,
        dim: int = 2048,
    ):
        super().__init__()
        self.dim, self.chunk_samples, self.hop_samples = dim, chunk_samples, hop_samples
        self.least_energy = least_energy
        self.cnn = Convolutions(chunk_samples, num_filters, channels)
        self.dnn1 = Perceptron(self.cnn.num_features, dim)
        self.dnn2 = Classifier(dim, num_classes)

    def embed(self, waveform: Tensor) -> Tensor:
        """Embeds waveforms (batch, time) as means of unit d-vectors (batch, dim)."""
        chunks = self.chunks(waveform)
        unit = F.normalize(self.d_vectors(chunks.flatten(0, 1)).float(), dim=-1).unflatten(0, chunks.shape[:2])
        energy = chunks.square().sum(dim=-1, keepdim=True)  # (batch, chunks, 1)
        kept = energy >= self.least_energy * energy.mean(dim=1, keepdim=True)
        return (unit * kept).sum(dim=1) / kept.sum(dim=1)

    def chunks(self, waveform: Tensor) -> Tensor:
        """Cuts waveforms (batch, time) into chunks (batch, chunks, chunk_samples); ValueError if one is too short."""
        if waveform.shape[-1] < self.chunk_samples:
            raise ValueError(f"waveform must have at least {self.chunk_samples} samples, got {waveform.shape[-1]}")
        return waveform.unfold(-1, self.chunk_samples, self.hop_samples)

    def d_vectors(self, chunks: Tensor) -> Tensor:
        """Maps chunks (batch, chunk_samples) to d-vectors (batch, dim) of any norm; ValueError for other lengths."""
        if chunks.ndim != 2 or chunks.shape[1] != self.chunk_samples:
            raise ValueError(f"chunks must have shape (batch, {self.chunk_samples}), got {tuple(chunks.shape)}")
        return self.dnn1(self.cnn(chunks))

    def classify(self, d_vectors: Tensor) -> Tensor:
        """Maps d-vectors (batch, dim), not normalised, to log-posteriors (batch, num_classes)."""
        return self.dnn2(d_vectors)

    def log_posteriors(self, chunks: Tensor) -> Tensor:
        """Maps chunks (batch, chunk_samples) to log-posteriors (batch, num_classes)."""
        return self.classify(self.d_vectors(chunks))


def load_sincnet(path: Path) -> SincNet:
    """Loads a `.pkl` file of SincNet's speaker recognition, such as model_raw.pkl of the TIMIT model.

    Sizes follow from the weights; which normalisations are used is not in a file and is taken to be as published.
    Files of the first release are read too: their filters' edges are fractions of the sampling rate and under other
    names (converted: below the Nyquist frequency the filters differ by less than 1e-5), and their torch did not count
    batches.

    Args:
        path: The file, `CNN_model_par`, `DNN1_model_par` and `DNN2_model_par` being state dicts.

    Raises:
        CheckpointError: If the file is not made of plain state dicts, or not those of this network.
    """
    content = read_pickled(path)
    try:
        states = {block: dict(content[f"{block.upper()}_model_par"]) for block in UNUSED}
        _rename_first_release(states["cnn"])
        encoder = SincNet(
            num_classes=len(states["dnn2"]["wx.0.bias"]),
            chunk_samples=len(states["cnn"]["ln0.gamma"]),
            num_filters=len(states["cnn"]["conv.0.low_hz_"]),
            channels=len(states["cnn"]["conv.1.bias"]),
            dim=len(states["dnn1"]["wx.0.bias"]),
        )
        for block, unused in UNUSED.items():
            used = {name: value for name, value in states[block].items() if not name.startswith(unused)}
            getattr(encoder, block).load_state_dict(used)
    except (KeyError, AttributeError, TypeError, RuntimeError, ValueError) as error:
        raise CheckpointError(f"{path} does not hold the weights of SincNet's speaker network: {error}") from error
    return encoder.eval()


def _rename_first_release(state: dict[str, Tensor]) -> None:
    for old, name in (("conv.0.filt_b1", "conv.0.low_hz_"), ("conv.0.filt_band", "conv.0.band_hz_")):
        if old in state:
            state[name] = torch.atleast_1d(state.pop(old)).unsqueeze(1) * SAMPLE_RATE
