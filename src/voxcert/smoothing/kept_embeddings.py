"""Keeps what an encoder made of noisy copies, so that another question about the same copies costs no forward pass.

The expensive part of certifying is embedding noisy copies, and an embedding depends on encoder, waveform, noise level,
seed and index alone. Files lie under a digest of all of these, so none can be taken for another.
"""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from voxcert.rows import replace_file
from voxcert.smoothing.sampler import NoisySampler


class KeptEmbeddings:
    """A folder of embeddings, for any number of encoders, recordings and processes.

    Args:
        folder: is made where it is missing.
        encoder_id: hash of the encoder, and what else decides its embeddings, such as the precision.

    Raises:
        ValueError: if the encoder is not named: embeddings of two could not be told apart.
    """

    def __init__(self, folder: str | Path, encoder_id: str) -> None:
        if not encoder_id:
            raise ValueError(
                f"encoder_id must be the hash of the encoder whose embeddings are kept, got {encoder_id!r}"
            )
        self.folder, self.encoder_id = Path(folder), encoder_id

    def read(self, sampler: NoisySampler, start: int, stop: int) -> Iterator[Tensor]:
        """What is kept of the samples start to stop - 1, from `start` on and as far as nothing is missing, in pieces.

        Raises:
            ValueError: if a file does not hold the embeddings that its name says.
        """
        found = self._files(sampler)
        for (first, last), path in sorted(found.items()):
            if first <= start < min(last, stop):
                upto = min(last, stop)
                yield _load(path, last - first)[start - first : upto - first].to(sampler.waveform.device)
                start = upto

    def holds(self, sampler: NoisySampler, start: int, stop: int) -> bool:
        """Whether nothing is missing of the samples start to stop - 1."""
        for first, last in sorted(self._files(sampler)):
            if first <= start:
                start = max(start, last)
        return start >= stop

    def write(self, sampler: NoisySampler, start: int, embeddings: Tensor) -> None:
        """Keeps the embeddings (samples, dim) of the samples from `start` on.

        Raises:
            OSError: if they cannot be written; names the file.
        """
        path = self._place(sampler) / f"{start}-{start + len(embeddings)}.safetensors"
        replace_file(path, save({"embeddings": embeddings.cpu().contiguous()}))

    def through(self, encoder: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        """The encoder, but for batches (batch, time) that it has embedded before: their embeddings are taken.

        Raises:
            ValueError: when called, as `read`.
        """

        def embed(waveform: Tensor) -> Tensor:
            about = f"{self.encoder_id}:{waveform.device.type}:{waveform.dtype}:{tuple(waveform.shape)}:"
            key = hashlib.sha256(about.encode() + waveform.cpu().numpy().tobytes()).hexdigest()
            path = self.folder / key[:2] / f"{key}.safetensors"
            if path.is_file():
                return _load(path, len(waveform)).to(waveform.device)
            embeddings = encoder(waveform)
            replace_file(path, save({"embeddings": embeddings.cpu().contiguous()}))
            return embeddings

        return embed

    def _place(self, sampler: NoisySampler) -> Path:
        key = hashlib.sha256(f"{self.encoder_id}:{sampler.identity}".encode()).hexdigest()
        return self.folder / key[:2] / key

    def _files(self, sampler: NoisySampler) -> dict[tuple[int, int], Path]:
        """The files about a waveform's noisy copies, by their first sample and the one after their last."""
        paths = self._place(sampler).glob("[0-9]*-[0-9]*.safetensors")
        return {tuple(map(int, path.stem.split("-"))): path for path in paths}


def _load(path: Path, num_rows: int) -> Tensor:
    try:
        embeddings = load_file(path)["embeddings"]
    except (SafetensorError, KeyError) as error:
        raise ValueError(f"{path} does not hold embeddings (remove it to embed again): {error}") from error
    if embeddings.dim() != 2 or len(embeddings) != num_rows:
        raise ValueError(
            f"{path} must hold {num_rows} embeddings (remove it to embed again), got {tuple(embeddings.shape)}"
        )
    return embeddings
