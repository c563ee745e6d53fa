"""How low or high an attack can bring the smoothed score of a claim: one number for every threshold.

The score of a claim is the cosine ``s = <f(x + noise), c>`` of a noisy embedding and the claimed speaker's prototype,
clipped to [-1, 1] where the prototype's norm is 1 but for rounding.
The *embedding* verifier accepts where ``E s >= theta``, the *vote* verifier where ``P(s >= theta) > 1/2``, so their
smoothed scores are the mean and the median of s. By the Lipschitz lemma at every threshold (Salman et al. 2019,
Lemma 2), the mean at x + delta with ``|delta| <= r sigma`` is at least ``-1 + int phi_r(P(s > t)) dt`` over [-1, 1]
with ``phi_r(p) = Phi(Phi^-1(p) - r)``, and the median at least any t with ``P(s > t) > Phi(r)`` (Chiang et al. 2020).
"""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import ndtr, ndtri

from voxcert.smoothing.betting import goal, log_sum, log_wealth
from voxcert.smoothing.bounds import ROUNDING, clopper_pearson_lower
from voxcert.smoothing.distribution import BETTING, counted_lower, linearised
from voxcert.smoothing.forecast import Forecast
from voxcert.smoothing.statistics import exceedances
from voxcert.smoothing.tally import Histogram

STEPS = 16
"""Halvings of an interval of at most 2: bounds are rounded outwards by 3e-5 at most."""


@dataclass(frozen=True, eq=False)
class ScoreStatistics:
    """Counts over n samples of the scores of M claims, each also with its sign turned: for bounds from above.

    Attributes:
        forecast: what the selection samples said of s_1, ..., s_M, -s_1, ..., -s_M.
        num_samples: n, fixed beforehand.
        finite: whether all embeddings were finite; otherwise no count means anything.
        counts: (2 M, m+1) int64, how often exactly j of a number's thresholds lay below it.
        total: (M,) float64, sums of the scores.
    """

    forecast: Forecast
    num_samples: int
    finite: bool
    counts: np.ndarray
    total: np.ndarray

    @property
    def exceedances(self) -> np.ndarray:
        """(2 M, m) how often a number was above each of its thresholds."""
        return exceedances(self.counts)

    @property
    def means(self) -> np.ndarray:
        """(M,) sample means of the scores."""
        return self.total / self.num_samples

    @property
    def medians(self) -> np.ndarray:
        """(M,) the lowest thresholds that at most half of the samples exceeded: medians, to the grid's resolution."""
        half, thresholds = len(self.total), self.forecast.thresholds
        above = self.exceedances[:half] > self.num_samples / 2
        places = np.minimum(above.sum(axis=1), thresholds.shape[1] - 1)
        return thresholds[np.arange(half), places]


class ScoreTally:
    """Running `ScoreStatistics`, on the device of the prototypes.

    Args:
        prototypes: (M, dim) float64 unit vectors of the claimed speakers.
        selection: (num_select, dim) float64 unit embeddings that nothing else is made of.
        num_thresholds: per number.
    """

    def __init__(self, prototypes: torch.Tensor, selection: torch.Tensor, num_thresholds: int) -> None:
        self._prototypes = prototypes
        self._forecast = Forecast.fit(self._both_signs(selection).numpy(force=True), num_thresholds)
        self._histogram = Histogram(self._forecast.thresholds, prototypes.device)
        self._total = torch.zeros(len(prototypes), dtype=torch.float64, device=prototypes.device)
        self._finite = torch.ones((), dtype=torch.bool, device=prototypes.device)
        self._num_samples = 0

    def add(self, embeddings: torch.Tensor) -> None:
        """Adds float64 unit embeddings, shape (batch, dim)."""
        numbers = self._both_signs(embeddings)
        self._histogram.add(numbers)
        self._total += numbers[: len(self._total)].sum(dim=1)
        self._finite &= torch.isfinite(embeddings).all()
        self._num_samples += len(embeddings)

    def statistics(self) -> ScoreStatistics:
        """What was added so far."""
        total = self._total.numpy(force=True).copy()
        return ScoreStatistics(self._forecast, self._num_samples, bool(self._finite), self._histogram.counts(), total)

    def _both_signs(self, embeddings: torch.Tensor) -> torch.Tensor:
        scores = (self._prototypes @ embeddings.T).clamp_(-1.0, 1.0)
        return torch.cat([scores, -scores])


def score_bounds(
    statistics: ScoreStatistics, radii: np.ndarray, alpha: float, classifier: str
) -> tuple[np.ndarray, np.ndarray]:
    """Bounds on the smoothed scores of all claims at every waveform within a radius.

    With probability at least 1 - alpha for each single bound, the smoothed score is at least the lower one everywhere
    within the radius; and likewise at most the upper one. Wider balls have wider bounds. A claim stays accepted
    within the radius at every threshold up to the lower bound, and stays rejected at every one above the upper bound.

    Args:
        statistics: of the estimation samples.
        radii: (R,) at least 0, ascending, in units of sigma.
        alpha: in (0, 1), for each bound.
        classifier: `embedding` (means) or `vote` (medians).

    Returns:
        Lower and upper bounds, (M, R) each, in [-1, 1].
    """
    below = {"embedding": _mean_bounds, "vote": _median_bounds}[classifier](statistics, radii, alpha)
    below = below - ROUNDING  # sums differ in the last digits with their order, those of the scores too
    below = np.minimum.accumulate(below, axis=1).clip(-1.0, 1.0)
    lower, upper = np.split(below, 2)
    return lower, -upper


def _median_bounds(statistics: ScoreStatistics, radii: np.ndarray, alpha: float) -> np.ndarray:
    """The highest threshold that is shown to be exceeded with a probability above Phi(r), or -1.

    The counts fall from threshold to threshold, so it is too high only if the bound at the first threshold that is
    not exceeded often enough fails: one event, and no union over thresholds.
    """
    likely = clopper_pearson_lower(statistics.exceedances, statistics.num_samples, alpha)
    reached = (likely[:, None, :] > ndtr(radii)[:, None]).sum(axis=-1)  # (2 M, R)
    thresholds = np.concatenate([np.full((len(likely), 1), -1.0), statistics.forecast.thresholds], axis=1)
    return np.take_along_axis(thresholds, reached, axis=1)


def _mean_bounds(statistics: ScoreStatistics, radii: np.ndarray, alpha: float) -> np.ndarray:
    """The larger of two bounds on the integral: by bets on its tangents, and by Clopper-Pearson at all thresholds."""
    forecast, n = statistics.forecast, statistics.num_samples
    widths = np.diff(forecast.thresholds, axis=1, prepend=-1.0)
    quantiles = ndtri(counted_lower(forecast, statistics.exceedances, n, (1.0 - BETTING) * alpha))
    counted = (widths[:, None] * ndtr(quantiles[:, None] - radii[:, None])).sum(axis=-1)
    bets = [_mean_bound_by_betting(statistics, number, radii, BETTING * alpha) for number in range(len(counted))]
    return np.maximum(counted, np.stack(bets)) - 1.0


def _mean_bound_by_betting(statistics: ScoreStatistics, number: int, radii: np.ndarray, alpha: float) -> np.ndarray:
    """Lower bounds on ``int phi_r(P(v > t)) dt`` for one number v, (R,): the largest values that are rejected.

    A value b of the integral means ``E Y <= b - intercept`` for every tangent, so it is no smaller than an intercept.
    Wealth falls as b grows, and at the sample mean of Y it is at most 1 (Jensen), so b need not be searched above.
    """
    forecast, n = statistics.forecast, statistics.num_samples
    guesses = forecast.references(number, n, highest=alpha ** (1.0 / n))
    widths = np.diff(forecast.thresholds[number], prepend=-1.0)
    seen = np.flatnonzero(statistics.counts[number])
    counts = statistics.counts[number][seen]
    values, intercepts = linearised(radii[:, None], guesses, widths)
    values = values[..., seen]  # (R, guesses, bins)
    low, high = intercepts.max(axis=1), (intercepts + values @ counts / n).max(axis=1)
    for _ in range(STEPS):
        middle = (low + high) / 2.0
        means = np.maximum((middle[:, None] - intercepts) * (1.0 + ROUNDING), ROUNDING)  # larger: harder to reject
        wealth = log_sum(log_wealth(values / means[..., None], counts)) - np.log(len(guesses))
        rejected = wealth >= goal(alpha)
        low, high = np.where(rejected, middle, low), np.where(rejected, high, middle)
    return low
