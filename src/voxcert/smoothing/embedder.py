"""Runs an encoder over noisy samples, in batches of one shape, and checks that it returns unit embeddings.

The sampling loop of Cohen et al. 2019 (Algorithm 1) in the memory of one batch, or of all embeddings if they are kept.
"""

from collections.abc import Callable, Iterator

import torch

from voxcert.smoothing.batching import fastest_batch_size
from voxcert.smoothing.kept_embeddings import KeptEmbeddings
from voxcert.smoothing.probe import check_rows_are_independent
from voxcert.smoothing.sampler import NoisySampler

NORM_TOLERANCE = 1e-3
"""How far an embedding's or a prototype's norm may be from 1."""


class Embedder:
    """An encoder with its batch size.

    Args:
        encoder: callable from waveforms (batch, time) to unit embeddings (batch, dim).
        dim: dimension of the embeddings.
        batch_size: rows per forward, or "auto" until `settle` has timed the encoder.
        kept: where embeddings are kept and taken from; None embeds always.
    """

    def __init__(
        self,
        encoder: Callable[[torch.Tensor], torch.Tensor],
        dim: int,
        batch_size: int | str,
        kept: KeptEmbeddings | None = None,
    ) -> None:
        self.encoder, self.dim, self.batch_size, self.kept = encoder, dim, batch_size, kept
        self._longest = 0

    def settle(self, sampler: NoisySampler, limit: int) -> None:
        """Replaces "auto" by the fastest batch size, at most `limit`, and probes the encoder with a batch of that size.

        Nothing is timed or probed for waveforms that are no longer than the longest so far. A batch that does
        not fit into memory is halved for good: samples do not depend on the batch size.

        Raises:
            ValueError: if the embedding of a row depends on the other rows, or has the wrong shape or norm, or if what
                is kept of this waveform is not what the encoder makes of it (a batch is embedded again).
        """
        self._settle(sampler, limit)
        if self.kept is not None:
            self.kept.compare(self.encoder, sampler, self.batch_size)

    def _settle(self, sampler: NoisySampler, limit: int) -> None:
        waveform = sampler.batch(0, 1)[0].clone()
        if len(waveform) <= self._longest:
            return
        if self.batch_size == "auto":
            self.batch_size = fastest_batch_size(self.encoder, waveform, limit)
        while True:
            try:
                batch = sampler.batch(0, self.batch_size)
                _check_norms(unit_embeddings(self.encoder(batch), len(batch), self.dim)[1])
                probed = check_rows_are_independent(self.encoder, batch)
                break
            except torch.OutOfMemoryError:
                if self.batch_size == 1:
                    raise
                self.batch_size //= 2
        if probed:
            self._longest = len(waveform)

    def embed(self, sampler: NoisySampler, start: int, stop: int) -> Iterator[torch.Tensor]:
        """Unit embeddings of the samples start to stop - 1 in float64, batch by batch.

        Norms are checked at the end, so that no batch waits for the device; `settle` has looked at the first ones.

        Raises:
            ValueError: if an embedding has the wrong shape or is not of unit norm, or a file of kept ones is broken.
        """
        worst: torch.Tensor | None = None
        for output in self._outputs(sampler, start, stop):
            embeddings, deviation = unit_embeddings(output, len(output), self.dim)
            worst = deviation if worst is None else torch.maximum(worst, deviation)
            yield embeddings
        if worst is not None:
            _check_norms(worst)

    def _outputs(self, sampler: NoisySampler, start: int, stop: int) -> Iterator[torch.Tensor]:
        """What the encoder says of the samples: what is kept of it first, and then the rest, which is kept."""
        if self.kept is None:
            yield from self._forwards(sampler, start, stop)
            return
        for piece in self.kept.read(sampler, start, stop):
            yield from piece.split(self.batch_size)
            start += len(piece)
        new = []
        for output in self._forwards(sampler, start, stop):
            new.append(output.detach().to("cpu", copy=True))  # an encoder may use its memory again
            yield output
        if new:
            self.kept.write(sampler, start, torch.cat(new))

    def _forwards(self, sampler: NoisySampler, start: int, stop: int) -> Iterator[torch.Tensor]:
        """The encoder's output for the samples, batch by batch.

        All batches have one shape, since libraries choose algorithms by shape: the last one is filled up with copies,
        whose embeddings are dropped.
        """
        size = self.batch_size  # another thread may halve it meanwhile
        for low in range(start, stop, size):
            high = min(low + size, stop)
            rows = sampler.batch(low, high)
            missing = size - len(rows)
            output = self.encoder(torch.cat([rows, rows[:1].expand(missing, -1)]) if missing else rows)
            if output.shape != (size, self.dim):
                raise ValueError(
                    f"encoder must return embeddings of shape {(size, self.dim)}, got {tuple(output.shape)}"
                )
            yield output[: high - low]


def _check_norms(deviation: torch.Tensor) -> None:
    """Raises ValueError if the largest deviation of a norm from 1 is too large."""
    if deviation > NORM_TOLERANCE:
        raise ValueError(
            f"encoder must return embeddings of unit norm (within {NORM_TOLERANCE}), "
            f"got a norm that is off by {deviation:.3g}"
        )


def filled(num_samples: int, batch_size: int) -> int:
    """Rows that an `Embedder` computes for so many samples: all of whole batches."""
    return -(-num_samples // batch_size) * batch_size


def unit_embeddings(output: torch.Tensor, num_rows: int, dim: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The encoder's output as float64 unit vectors, and the largest deviation of a norm from 1.

    The rows are normalised once more in float64, so that the certified f has |f| = 1 to rounding. Rows that are not
    finite, or exactly zero, become NaN and do not enter the deviation; they stay on the device, so that nothing
    waits for it.

    Raises:
        ValueError: if the output has not the shape (num_rows, dim).
    """
    if output.shape != (num_rows, dim):
        raise ValueError(f"encoder must return embeddings of shape {(num_rows, dim)}, got {tuple(output.shape)}")
    embeddings = output.double()
    norms = torch.linalg.vector_norm(embeddings, dim=1, keepdim=True)
    deviation = torch.where(norms > 0.0, (norms - 1.0).abs(), 0.0)
    return embeddings / norms, torch.nan_to_num(deviation, nan=0.0, posinf=0.0).amax()
