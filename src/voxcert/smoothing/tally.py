"""Counts of noisy embeddings, accumulated on the encoder's device.

They are all that the rules need to know of the samples; nothing here grows with the number of samples.
"""

import numpy as np
import torch

from voxcert.smoothing.pilot import Pilot
from voxcert.smoothing.rivals import Rivals
from voxcert.smoothing.statistics import XI_UNIT, Statistics


class Histogram:
    """How often each of some numbers fell between which of its thresholds.

    Args:
        thresholds: (numbers, m) float64, ascending in each row.
        device: where the numbers come from.
    """

    def __init__(self, thresholds: np.ndarray, device: torch.device) -> None:
        self._thresholds = torch.from_numpy(thresholds).to(device)
        rows, columns = thresholds.shape
        self._counts = torch.zeros(rows, columns + 1, dtype=torch.int64, device=device)

    def add(self, numbers: torch.Tensor) -> None:
        """Adds float64 values, shape (numbers, batch)."""
        bins = torch.searchsorted(self._thresholds, numbers)  # how many thresholds lie strictly below
        self._counts.scatter_add_(1, bins, torch.ones_like(bins))

    def counts(self) -> np.ndarray:
        """(numbers, m+1) int64, how often exactly j thresholds lay below."""
        return self._counts.numpy(force=True).copy()


class Tally:
    """Running `Statistics` for the choices of a pilot.

    Args:
        prototypes: (K, dim) float64 unit vectors.
        pilot: what the selection samples chose.
    """

    def __init__(self, prototypes: torch.Tensor, pilot: Pilot) -> None:
        self._prototypes, self._pilot = prototypes, pilot
        self._rivals = Rivals(prototypes, pilot.predicted)
        self._histogram = Histogram(pilot.thresholds, prototypes.device)
        counts = {"dtype": torch.int64, "device": prototypes.device}
        self._votes = torch.zeros(len(prototypes), **counts)
        self._xi_sum = torch.zeros(len(pilot.thresholds), **counts)
        self._finite = torch.ones((), dtype=torch.bool, device=prototypes.device)
        self._num_samples = 0

    def add(self, embeddings: torch.Tensor) -> None:
        """Adds float64 unit embeddings, shape (batch, dim)."""
        self._num_samples += len(embeddings)
        self._finite &= torch.isfinite(embeddings).all()
        scores = self._prototypes @ embeddings.T  # (K, batch)
        winners = scores.argmax(dim=0)
        self._votes.scatter_add_(0, winners, torch.ones_like(winners))
        xi = self._rivals.xi(scores)  # (K-1, batch)
        self._xi_sum += (xi / XI_UNIT).round().long().sum(dim=1)  # integers: the order of adding does not matter
        self._histogram.add(xi)

    def statistics(self, *, sigma: float, num_planned: int, num_looks: int, start: int) -> Statistics:
        """What was added so far, as samples start, start + 1, ... of the planned ones; see `Statistics`."""
        return Statistics(
            pilot=self._pilot,
            sigma=sigma,
            num_planned=num_planned,
            num_looks=num_looks,
            ranges=((start, start + self._num_samples),),
            finite=bool(self._finite),
            vote_counts=self._votes.numpy(force=True).copy(),
            counts=self._histogram.counts(),
            xi_sum=self._xi_sum.numpy(force=True).copy(),
        )
