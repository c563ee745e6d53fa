"""What the selection samples foretell of numbers in [-1, 1] whose means are to be bounded.

It costs no error probability: the bounds use fresh samples, and a bad forecast costs radius, never soundness. The
numbers are the margins to the rivals (`pilot`) or the scores of claims (`scores`).
"""

from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
from scipy.special import ndtr

from voxcert.smoothing.arrays import decode, encode

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


@dataclass(frozen=True, eq=False, kw_only=True)
class Forecast:
    """How each of some numbers was spread over the selection samples.

    Attributes:
        num_select: how many samples chose.
        num_thresholds: m, thresholds per number.
        mean: (numbers,) float32, means.
        spread: (numbers,) float32, standard deviations, at least `SMALLEST_SPREAD`.
        quantiles: (numbers, 4) float32, just below the `QUANTILES`.
        exceedances: (numbers, m) int32, how many selection samples were above each threshold.
    """

    num_select: int
    num_thresholds: int
    mean: np.ndarray
    spread: np.ndarray
    quantiles: np.ndarray
    exceedances: np.ndarray

    @classmethod
    def fit(cls, samples: np.ndarray, num_thresholds: int, **others: Any) -> Self:
        """The forecast of selection samples, shape (numbers, num_select); others are a subclass's own attributes."""
        samples = np.sort(samples, axis=1)
        num_select = samples.shape[1]
        places = (np.array(QUANTILES) * (num_select - 1)).astype(np.int64)
        mean, spread, quantiles = (
            array.astype(np.float32)
            for array in (
                samples.mean(axis=1),
                samples.std(axis=1).clip(SMALLEST_SPREAD),
                samples[:, places] - SMALLEST_SPREAD,
            )
        )
        thresholds, _ = place_thresholds(mean, spread, quantiles, num_thresholds)
        below = [row.searchsorted(grid, side="right") for row, grid in zip(samples, thresholds, strict=True)]
        return cls(
            num_select=num_select,
            num_thresholds=num_thresholds,
            mean=mean,
            spread=spread,
            quantiles=quantiles,
            exceedances=(num_select - np.stack(below)).astype(np.int32),
            **others,
        )

    @property
    def thresholds(self) -> np.ndarray:
        """(numbers, m) float64, ascending in each row."""
        return self._placed[0]

    @property
    def at_quantile(self) -> np.ndarray:
        """(numbers, m) bool, which thresholds are at a quantile."""
        return self._placed[1]

    @cached_property
    def _placed(self) -> tuple[np.ndarray, np.ndarray]:
        return place_thresholds(self.mean, self.spread, self.quantiles, self.num_thresholds)

    def references(self, index: int, num_samples: int, highest: float) -> np.ndarray:
        """Guesses of P(number > t) at every threshold, to linearise at; a bad one costs radius, never soundness.

        A Gaussian fit, lowered by what `num_samples` can show, is right where it moves a little around its mean; the
        pilot's own shares, lowered and raised by a standard error, where it jumps between a few values.

        Args:
            index: which of the numbers.
            num_samples: estimation samples that were planned.
            highest: no guess is above; ``alpha^(1/n)`` is what n samples can show at most.

        Returns:
            Shape (3, m), in (0, 1).
        """
        gauss = ndtr((self.mean[index] - self.thresholds[index]) / np.float64(self.spread[index]))
        gauss = gauss - CAUTION * np.sqrt(gauss * (1.0 - gauss) / num_samples)
        share = (self.exceedances[index] + 0.5) / (self.num_select + 1.0)
        error = np.sqrt(share * (1.0 - share) * (1.0 / num_samples + 1.0 / self.num_select))
        return np.clip(np.stack([gauss, share - error, share + error]), 1e-6, highest)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; exact."""
        return {name: encode(value) if isinstance(value, np.ndarray) else value for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """What is in a dictionary made by `to_dict`."""
        return cls(**{name: decode(value) if isinstance(value, dict) else value for name, value in values.items()})


def place_thresholds(
    mean: np.ndarray, spread: np.ndarray, quantiles: np.ndarray, num_thresholds: int
) -> tuple[np.ndarray, np.ndarray]:
    """Thresholds around the pilot's mean in units of its standard deviation, and at its quantiles.

    Nearly all of the integral lies left of the distribution, where one threshold that (almost) every sample
    exceeds secures it; an even grid from -6 to 2 standard deviations finds the shape of the rest.

    Returns:
        Thresholds (numbers, num_thresholds), float64, ascending, in [-1, 1 - 1e-4]; and which of them are at quantiles.
    """
    num_even = num_thresholds - quantiles.shape[1]
    offsets = np.concatenate([FAR, np.linspace(-6.0, 2.0, num_even - len(FAR))])
    even = mean[:, None].astype(np.float64) + spread[:, None] * offsets
    places = np.concatenate([even, quantiles], axis=1).clip(-1.0, HIGHEST_THRESHOLD)
    order = places.argsort(axis=1, kind="stable")
    return np.take_along_axis(places, order, axis=1), order >= num_even
