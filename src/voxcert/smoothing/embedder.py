"""Runs an encoder over noisy samples, batch by batch, and checks that it returns unit embeddings.

The sampling loop of Cohen et al. 2019 (Algorithm 1) in the memory of one batch.
"""

from collections.abc import Callable, Iterator

import torch

from voxcert.smoothing.batching import fastest_batch_size
from voxcert.smoothing.sampler import NoisySampler

NORM_TOLERANCE = 1e-3
"""How far an embedding's or a prototype's norm may be from 1."""


class Embedder:
    """An encoder with its batch size.

    Args:
        encoder: callable from waveforms (batch, time) to unit embeddings (batch, dim).
        dim: dimension of the embeddings.
        batch_size: rows per forward, or "auto" until `settle` has timed the encoder.
    """

    def __init__(self, encoder: Callable[[torch.Tensor], torch.Tensor], dim: int, batch_size: int | str) -> None:
        self.encoder, self.dim, self.batch_size = encoder, dim, batch_size

    def settle(self, waveform: torch.Tensor, limit: int) -> None:
        """Replaces "auto" by the fastest batch size for waveforms like this one, at most `limit`."""
        if self.batch_size == "auto":
            self.batch_size = fastest_batch_size(self.encoder, waveform, limit)

    def embed(self, sampler: NoisySampler, start: int, stop: int) -> Iterator[torch.Tensor]:
        """Unit embeddings of the samples start to stop - 1 in float64, batch by batch.

        A batch that does not fit into memory is halved for good: samples do not depend on the batch size. Norms are
        checked at the end, so that no batch waits for the device.

        Raises:
            ValueError: if an embedding has the wrong shape or is not of unit norm.
        """
        worst: torch.Tensor | None = None
        while start < stop:
            end = min(start + self.batch_size, stop)
            try:
                output = self.encoder(sampler.batch(start, end))
            except torch.OutOfMemoryError:
                if self.batch_size == 1:
                    raise
                self.batch_size //= 2
                continue
            embeddings, deviation = unit_embeddings(output, end - start, self.dim)
            worst = deviation if worst is None else torch.maximum(worst, deviation)
            start = end
            yield embeddings
        if worst is not None and worst > NORM_TOLERANCE:
            raise ValueError(
                f"encoder must return embeddings of unit norm (within {NORM_TOLERANCE}), "
                f"got a norm that is off by {worst:.3g}"
            )


def unit_embeddings(output: torch.Tensor, num_rows: int, dim: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The encoder's output as float64 unit vectors, and the largest deviation of a norm from 1.

    The rows are normalised once more in float64, so that the certified f has |f| = 1 to rounding. Rows that are not
    finite become NaN and do not enter the deviation; they stay on the device, so that nothing waits for it.

    Raises:
        ValueError: if the output has not the shape (num_rows, dim).
    """
    if output.shape != (num_rows, dim):
        raise ValueError(f"encoder must return embeddings of shape {(num_rows, dim)}, got {tuple(output.shape)}")
    embeddings = output.double()
    norms = torch.linalg.vector_norm(embeddings, dim=1, keepdim=True)
    deviation = torch.nan_to_num((norms - 1.0).abs(), nan=0.0, posinf=0.0).amax()
    return embeddings / norms, deviation
