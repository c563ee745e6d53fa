"""What the selection samples decide: the class of either classifier, and what the `distribution` rule bets on.

The selection step of CERTIFY in Cohen et al. 2019. It costs no error probability: the bound uses fresh samples, and
whatever was selected, the certificate abstains or is right with probability 1 - alpha. Nothing here depends on alpha.
"""

from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from scipy.special import ndtr

from voxcert.smoothing.arrays import decode, encode
from voxcert.smoothing.rivals import Rivals

HIGHEST_THRESHOLD = 1.0 - 1e-4
"""Below 1, so that an encoder with xi = 1 (a coin flip between opposite embeddings) exceeds every threshold."""

SMALLEST_SPREAD = 1e-4
"""Floor for the pilot's standard deviations, so that thresholds keep clear of an encoder that hardly moves."""

QUANTILES = (0.0, 0.3, 0.6, 0.9)
"""Where the pilot's own values put thresholds: just below the few values of an encoder that jumps between them."""

FAR = (-12.0, -9.0, -7.0)
"""Offsets of the far thresholds from the mean, in standard deviations, for heavy tails."""

FEWEST_THRESHOLDS = len(QUANTILES) + len(FAR) + 1

CAUTION = 2.5
"""Standard errors (of the samples to come) by which the Gaussian fit is lowered."""


@dataclass(frozen=True, eq=False)
class Pilot:
    """Choices made from the selection samples alone.

    Attributes:
        voted: class with most votes.
        predicted: class A with the largest score of the mean embedding; rivals are the others in ascending order.
        num_select: how many samples chose.
        num_thresholds: m, thresholds per rival.
        mean: (K-1,) float32, means of xi_k.
        spread: (K-1,) float32, standard deviations of xi_k, at least `SMALLEST_SPREAD`.
        quantiles: (K-1, 4) float32, just below the `QUANTILES` of xi_k.
        exceedances: (K-1, m) int32, how many selection samples had xi_k above each threshold.
        distances: (K-1,) float64, ``|c_A - c_k|``; 0 where the two count as identical.
    """

    voted: int
    predicted: int
    num_select: int
    num_thresholds: int
    mean: np.ndarray
    spread: np.ndarray
    quantiles: np.ndarray
    exceedances: np.ndarray
    distances: np.ndarray

    @property
    def tied(self) -> bool:
        """Whether a rival's prototype coincides with the predicted one."""
        return bool((self.distances == 0.0).any())

    @property
    def thresholds(self) -> np.ndarray:
        """(K-1, m) float64, ascending in each row."""
        return self._placed[0]

    @property
    def at_quantile(self) -> np.ndarray:
        """(K-1, m) bool, which thresholds are at a quantile."""
        return self._placed[1]

    @cached_property
    def _placed(self) -> tuple[np.ndarray, np.ndarray]:
        return place_thresholds(self.mean, self.spread, self.quantiles, self.num_thresholds)

    def references(self, rival: int, num_samples: int, highest: float) -> np.ndarray:
        """Guesses of P(xi_k > t) at every threshold, to linearise at; a bad one costs radius, never soundness.

        A Gaussian fit, lowered by what `num_samples` can show, is right where xi moves a little around its mean; the
        pilot's own shares, lowered and raised by a standard error, where xi jumps between a few values.

        Args:
            rival: index k of the rival.
            num_samples: estimation samples that were planned.
            highest: no guess is above; ``alpha^(1/n)`` is what n samples can show at most.

        Returns:
            Shape (3, m), in (0, 1).
        """
        gauss = ndtr((self.mean[rival] - self.thresholds[rival]) / np.float64(self.spread[rival]))
        gauss = gauss - CAUTION * np.sqrt(gauss * (1.0 - gauss) / num_samples)
        share = (self.exceedances[rival] + 0.5) / (self.num_select + 1.0)
        error = np.sqrt(share * (1.0 - share) * (1.0 / num_samples + 1.0 / self.num_select))
        return np.clip(np.stack([gauss, share - error, share + error]), 1e-6, highest)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; exact."""
        return {name: encode(value) if isinstance(value, np.ndarray) else value for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Pilot":
        """The pilot in a dictionary made by `to_dict`."""
        return cls(**{name: decode(value) if isinstance(value, dict) else value for name, value in values.items()})


def select(embeddings: torch.Tensor, prototypes: torch.Tensor, num_thresholds: int) -> Pilot | None:
    """Makes the choices; None if an embedding is not finite.

    Args:
        embeddings: (num_select, dim) float64 unit vectors.
        prototypes: (K, dim) float64 unit vectors.
        num_thresholds: thresholds per rival, at least `FEWEST_THRESHOLDS`.
    """
    if not torch.isfinite(embeddings).all():
        return None
    scores = prototypes @ embeddings.T  # (K, num_select)
    voted = int(torch.bincount(scores.argmax(dim=0)).argmax())
    predicted = int(scores.mean(dim=1).argmax())
    rivals = Rivals(prototypes, predicted)
    xi, distances = (tensor.numpy(force=True) for tensor in (rivals.xi(scores), rivals.distances))
    return fit(xi, voted=voted, predicted=predicted, distances=distances, num_thresholds=num_thresholds)


def fit(xi: np.ndarray, *, voted: int, predicted: int, distances: np.ndarray, num_thresholds: int) -> Pilot:
    """The pilot of selection samples xi, shape (K-1, num_select); the other arguments are those of `Pilot`."""
    xi = np.sort(xi, axis=1)
    num_select = xi.shape[1]
    places = (np.array(QUANTILES) * (num_select - 1)).astype(np.int64)
    mean, spread, quantiles = (
        array.astype(np.float32)
        for array in (xi.mean(axis=1), xi.std(axis=1).clip(SMALLEST_SPREAD), xi[:, places] - SMALLEST_SPREAD)
    )
    thresholds, _ = place_thresholds(mean, spread, quantiles, num_thresholds)
    below = [row.searchsorted(grid, side="right") for row, grid in zip(xi, thresholds, strict=True)]
    return Pilot(
        voted=voted,
        predicted=predicted,
        num_select=num_select,
        num_thresholds=num_thresholds,
        mean=mean,
        spread=spread,
        quantiles=quantiles,
        exceedances=(num_select - np.stack(below)).astype(np.int32),
        distances=distances,
    )


def place_thresholds(
    mean: np.ndarray, spread: np.ndarray, quantiles: np.ndarray, num_thresholds: int
) -> tuple[np.ndarray, np.ndarray]:
    """Thresholds around the pilot's mean in units of its standard deviation, and at its quantiles.

    Nearly all of the integral lies left of the distribution, where one threshold that (almost) every sample
    exceeds secures it; an even grid from -6 to 2 standard deviations finds the shape of the rest.

    Returns:
        Thresholds (K-1, num_thresholds), float64, ascending, in [-1, 1 - 1e-4]; and which of them are at quantiles.
    """
    num_even = num_thresholds - quantiles.shape[1]
    offsets = np.concatenate([FAR, np.linspace(-6.0, 2.0, num_even - len(FAR))])
    even = mean[:, None].astype(np.float64) + spread[:, None] * offsets
    places = np.concatenate([even, quantiles], axis=1).clip(-1.0, HIGHEST_THRESHOLD)
    order = places.argsort(axis=1, kind="stable")
    return np.take_along_axis(places, order, axis=1), order >= num_even
