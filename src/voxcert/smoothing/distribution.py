"""The radius of the rule `distribution`: how far each rival's margin stays positive, whatever the base function.

At radius s sigma the margin of a rival is at least ``-1 + int phi_s(P(xi > t)) dt`` over [-1, 1] with
``phi_s(p) = Phi(Phi^-1(p) - s)`` (Salman et al. 2019, Lemma 2, at every threshold; Kumar et al. 2020 for a confidence
score). A lower Riemann sum over thresholds bounds the integral, and since phi_s is convex, so does any tangent.
"""

import numpy as np
from scipy.special import ndtr, ndtri

from voxcert.smoothing.betting import goal, log_all_in, log_sum, log_wealth
from voxcert.smoothing.bounds import ROUNDING, clopper_pearson_lower
from voxcert.smoothing.forecast import Forecast
from voxcert.smoothing.statistics import Statistics

BETTING = 3 / 4
"""Share of alpha for betting, the better test where xi moves little; the rest is for Clopper and Pearson."""

RADII = np.concatenate([np.arange(1, 15) * 0.02, 0.3 * 1.006 ** np.arange(640)])
"""Radii that are tested in turn, in units of sigma: 0.02 to 13.7, in steps of 0.6 % from 0.3."""


def distribution_radius(statistics: Statistics, alpha: float) -> float:
    """The smallest radius of any rival, in units of sigma.

    Every rival's radius is right except with probability alpha, and so is their minimum (intersection-union): if it
    is too large, then so is that of the one rival who owns the nearest boundary. Hence a rival need not be looked
    at closely when a valid bound on its radius, such as `counted_radii`, exceeds the minimum so far.
    """
    counted = counted_radii(statistics, (1.0 - BETTING) * alpha)
    order = np.argsort(counted, kind="stable")
    floors = counted if statistics.complete else np.zeros_like(counted)
    smallest, seen = np.inf, set()
    for rival in order:
        if floors[rival] >= smallest:
            continue
        view = RivalView(statistics, int(rival), BETTING * alpha)
        if (floors[rival], view.key) not in seen:  # rivals with equal counts have equal radii
            seen.add((floors[rival], view.key))
            smallest = min(smallest, max(floors[rival], view.radius(smallest)))
    return float(smallest)


class RivalView:
    """The linearised test of one rival: is ``E Y_s > mu_s``, for one radius s after the other?

    With widths w_j and guesses q_j of P(xi > t_j) the margin at s is positive if the mean of
    ``Y_s = sum_j w_j phi_s'(q_j) 1{xi > t_j} >= 0`` exceeds ``mu_s = 1 - sum_j w_j (phi_s(q_j) - phi_s'(q_j) q_j)``,
    which is at least 1. Wealth is averaged over several guesses.

    Args:
        statistics: what was counted.
        rival: index k of the rival.
        alpha: error probability of this test.
    """

    def __init__(self, statistics: Statistics, rival: int, alpha: float) -> None:
        n = statistics.num_planned
        guesses = statistics.pilot.references(rival, n, highest=alpha ** (1.0 / n))
        self._guesses = guesses
        self._widths = np.diff(statistics.pilot.thresholds[rival], prepend=-1.0)
        self._occupied = np.flatnonzero(statistics.counts[rival])
        self._counts = statistics.counts[rival][self._occupied]
        self._goal = goal(alpha) + np.log(len(guesses))
        self.key = b"".join(
            np.ascontiguousarray(a).tobytes() for a in (guesses, self._widths, statistics.counts[rival])
        )

    def radius(self, enough: float = np.inf, block: int = 16) -> float:
        """The last radius before the first one that is not shown to be safe (fixed-sequence testing).

        Testing in a fixed order up to the first failure needs no correction for the number of radii: a false claim
        needs the rejection of one hypothesis that is known beforehand, the first true one.

        Args:
            enough: radii above need not be tested; then the last one that was is returned.
            block: how many are computed at once.
        """
        last = 0.0
        for start in range(0, len(RADII), block):
            radii = RADII[start : start + block]
            ratios = self._ratios(radii)
            safe = log_sum(log_all_in(ratios, self._counts)) >= self._goal  # cheap, and mostly enough
            if not safe.all():
                safe[~safe] = log_sum(log_wealth(ratios[~safe], self._counts)) >= self._goal
            if not safe.all():
                first = int(safe.argmin())
                return float(radii[first - 1]) if first else last
            last = float(radii[-1])
            if last >= enough:
                break
        return last

    def _ratios(self, radii: np.ndarray) -> np.ndarray:
        """Y_s / mu_s for every radius, guess and bin that samples are in, shape (radii, guesses, bins)."""
        values, intercepts = linearised(radii[:, None], self._guesses, self._widths)
        means = (1.0 - intercepts) * (1.0 + ROUNDING)
        return values[..., self._occupied] / means[..., None]


def linearised(s: np.ndarray, guesses: np.ndarray, widths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Tangents to the integral of phi_s: ``int phi_s(P(v > t)) dt >= intercept + E Y`` with Y >= 0, whatever v is.

    Args:
        s: (..., 1) radii in units of sigma.
        guesses: (guesses, m) in (0, 1), where the tangents touch.
        widths: (m,) between the thresholds, the first one from -1 on.

    Returns:
        Values of Y for 0, 1, ..., m thresholds below v, (..., guesses, m+1), and the intercepts, (..., guesses).
    """
    s, quantiles = s[..., None], ndtri(guesses)
    slopes = np.exp(s * quantiles - s**2 / 2.0) * widths
    intercepts = (widths * ndtr(quantiles - s) - slopes * guesses).sum(axis=-1)
    return np.concatenate([np.zeros_like(slopes[..., :1]), slopes.cumsum(axis=-1)], axis=-1), intercepts


def counted_radii(statistics: Statistics, alpha: float) -> np.ndarray:
    """A radius for every rival from Clopper-Pearson bounds at every threshold, shape (K-1,), in units of sigma."""
    pilot = statistics.pilot
    return riemann_radii(pilot.thresholds, counted_lower(pilot, statistics.exceedances, statistics.num_samples, alpha))


def counted_lower(forecast: Forecast, exceedances: np.ndarray, num_samples: int, alpha: float) -> np.ndarray:
    """Lower bounds on P(number > t) at all thresholds of a number at once, at level alpha for each number.

    Two thirds of alpha are for the thresholds at quantiles of the selection samples, a third for all others, evenly.

    Args:
        forecast: where the thresholds are.
        exceedances: (numbers, m) samples above each threshold.
        num_samples: n.
        alpha: in (0, 1).

    Returns:
        (numbers, m), not increasing in each row.
    """
    special = forecast.at_quantile
    num_special = int(special[0].sum())
    at_quantiles = clopper_pearson_lower(exceedances, num_samples, 2.0 / 3.0 * alpha / num_special)
    others = clopper_pearson_lower(exceedances, num_samples, alpha / 3.0 / (forecast.num_thresholds - num_special))
    bounds = np.where(special, at_quantiles, others)
    return np.maximum.accumulate(bounds[:, ::-1], axis=1)[:, ::-1]


def riemann_radii(thresholds: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Largest s at which ``-1 + int Phi(Phi^-1(P(xi > t)) - s) dt`` is positive, by a lower Riemann sum.

    The value at a threshold stands for the interval on its left; nothing is counted right of the last threshold.

    Args:
        thresholds: (rivals, m) in [-1, 1], ascending in each row.
        probabilities: (rivals, m), P(xi > threshold) or lower bounds, not increasing in each row.

    Returns:
        (rivals,): 0 where the margin is not positive at 0 (or is NaN), ``inf`` where it stays positive for ever
        (probabilities of exactly 1).
    """
    widths, quantiles = np.diff(thresholds, axis=1, prepend=-1.0), ndtri(probabilities)

    def positive(s: np.ndarray) -> np.ndarray:
        return (widths * ndtr(quantiles - s[:, None])).sum(axis=1) > 1.0 + ROUNDING

    start = np.zeros(len(thresholds))
    highest = float(np.max(quantiles, where=np.isfinite(quantiles), initial=0.0)) + 40.0
    low, high = start, np.full(len(thresholds), highest)
    forever = positive(high)
    for _ in range(44):
        middle = (low + high) / 2.0
        above = positive(middle)
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    return np.where(positive(start), np.where(forever, np.inf, low), 0.0)
