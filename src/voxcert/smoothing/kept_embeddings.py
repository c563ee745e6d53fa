"""Keeps what an encoder made of noisy copies, so that another question about the same copies costs one forward.

The expensive part of certifying is embedding noisy copies, and an embedding depends on encoder, waveform, noise level,
seed, index and device alone. Files lie under a digest of all of these. What a digest cannot know, such as code that was
edited, a comparison finds out: whoever takes embeddings embeds a batch of them again, of every recording.
"""

import hashlib
import io
import secrets
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from voxcert.rows import replace_file
from voxcert.smoothing.devices import device_name
from voxcert.smoothing.probe import PROBE_TOLERANCE
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
        self.folder, self.encoder_id = Path(folder), f"{encoder_id}:{torch.__version__}"
        self._is_compared = False

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
        _save(self._place(sampler) / f"{start}-{start + len(embeddings)}.npy", embeddings)

    def compare(self, encoder: Callable[[Tensor], Tensor], sampler: NoisySampler, batch_size: int) -> None:
        """Embeds the first batch of what is kept of a waveform's noisy copies again; nothing where nothing is kept.

        Raises:
            ValueError: as `read`, and if a row is farther away than `PROBE_TOLERANCE`: the encoder is not the one that
                made them.
        """
        first, _ = min(self._files(sampler), default=(0, 0))
        for kept in islice(self.read(sampler, first, first + batch_size), 1):
            self._compare(kept, encoder(sampler.batch(first, first + batch_size))[: len(kept)])

    def through(self, encoder: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        """The encoder, but for batches (batch, time) that it has embedded before: their embeddings are taken.

        Only the first batch that is taken is embedded again, since all of them would cost what they cost before. That
        is enough for prototypes: certificates hold whatever unit vectors these are.

        Raises:
            ValueError: when called, as `read` and `compare`.
        """

        def embed(waveform: Tensor) -> Tensor:
            about = f"{self.encoder_id}:{device_name(waveform.device)}:{waveform.dtype}:{tuple(waveform.shape)}:"
            key = hashlib.sha256(about.encode() + waveform.cpu().numpy().tobytes()).hexdigest()
            path = self.folder / key[:2] / f"{key}.npy"
            if path.is_file():
                found = _load(path, len(waveform)).to(waveform.device)
                if not self._is_compared:
                    self._compare(found, encoder(waveform))
                    self._is_compared = True
                return found
            embeddings = encoder(waveform)
            _save(path, embeddings)
            return embeddings

        return embed

    def _compare(self, kept: Tensor, fresh: Tensor) -> None:
        """Refuses embeddings that were kept and are not those that the encoder gives now."""
        off = torch.inf
        if kept.shape == fresh.shape:
            off = float((_comparable(kept) - _comparable(fresh)).norm(dim=1).max())
        if not off <= PROBE_TOLERANCE:
            raise ValueError(
                f"embeddings must be a folder with what this encoder makes of these recordings, got {self.folder} with "
                f"embeddings that are off by {off:.3g}: name another folder, or remove it"
            )

    def _place(self, sampler: NoisySampler) -> Path:
        key = hashlib.sha256(f"{self.encoder_id}:{sampler.identity}".encode()).hexdigest()
        return self.folder / key[:2] / key

    def _files(self, sampler: NoisySampler) -> dict[tuple[int, int], Path]:
        """The files about a waveform's noisy copies, by their first sample and the one after their last."""
        paths = self._place(sampler).glob("[0-9]*-[0-9]*.npy")
        return {tuple(map(int, path.stem.split("-"))): path for path in paths}


def _comparable(embeddings: Tensor) -> Tensor:
    """In float64; rows that are not finite, which nothing is certified of, become one and the same, far from units."""
    embeddings = embeddings.double()
    return torch.where(embeddings.isfinite().all(dim=1, keepdim=True), embeddings, 2.0)


def _save(path: Path, embeddings: Tensor) -> None:
    """Writes a file that others may be writing as well: all of them have the same to say."""
    if path.is_file():
        return
    if embeddings.dtype == torch.bfloat16:  # which NumPy does not know; float32 holds it exactly
        embeddings = embeddings.float()
    file = io.BytesIO()
    np.save(file, embeddings.cpu().numpy(), allow_pickle=False)
    own = path.with_name(f"{secrets.token_hex(8)}.part")
    replace_file(own, file.getvalue())
    own.replace(path)


def _load(path: Path, num_rows: int) -> Tensor:
    try:
        embeddings = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path} does not hold embeddings (remove it to embed again): {error}") from error
    if embeddings.ndim != 2 or len(embeddings) != num_rows:
        raise ValueError(f"{path} must hold {num_rows} embeddings (remove it to embed again), got {embeddings.shape}")
    return torch.from_numpy(embeddings)
