"""Certification rules: from the statistics of noisy embeddings to a radius in which the prediction is fixed.

`vote` follows Cohen et al. 2019; `mean` Korzh et al. 2024 (Theorem 1) and `lipschitz` Pautov et al. 2022, both
corrected to the minimum over all rivals; `distribution` applies the Lipschitz lemma at every threshold.

A rule is called with the error probability it may spend and returns a radius (waveform amplitude, l2) that is too
large with at most that probability; a result that is not above 0, NaN included, means abstain. With
``alpha=None`` it returns the plug-in estimate of the same radius, which is no guarantee.
"""

import math
from collections.abc import Callable

import numpy as np
from scipy.special import ndtr, ndtri

from voxcert.smoothing.bounds import (
    ROUNDING,
    clopper_pearson_lower,
    empirical_bernstein_radius,
    hoeffding_radius,
    vector_bound_radius,
)
from voxcert.smoothing.published import published_mean, published_se
from voxcert.smoothing.statistics import Statistics


def vote(statistics: Statistics, alpha: float | None) -> float:
    """``sigma * Phi^-1(p)`` with p the Clopper-Pearson lower bound on the share of votes (Cohen et al. 2019)."""
    count = statistics.vote_counts[statistics.voted]
    probability = _proportions(count, statistics.num_samples, alpha)
    return float(statistics.sigma * ndtri(probability))


def mean(statistics: Statistics, alpha: float | None) -> float:
    """``min_k sigma * Phi^-1((1 + h_k)/2)`` with lower bounds h_k on the means of xi_k (Korzh et al. 2024)."""
    margin = np.clip(_smallest_mean(statistics, alpha), -1.0, 1.0)
    return float(statistics.sigma * ndtri((1.0 + margin) / 2.0))


def lipschitz(statistics: Statistics, alpha: float | None) -> float:
    """``min_k sigma * sqrt(pi/2) * h_k`` (Pautov et al. 2022 with one power of the distance of prototypes).

    Never above `mean`, for ``Phi^-1((1 + h)/2) >= sqrt(pi/2) h`` on [0, 1].
    """
    return float(statistics.sigma * math.sqrt(math.pi / 2.0) * _smallest_mean(statistics, alpha))


def distribution(statistics: Statistics, alpha: float | None) -> float:
    """Uses the whole distribution of each xi_k: lower bounds on P(xi_k > t) at every threshold, then the lemma."""
    return distribution_radius(statistics.thresholds, exceedance_bounds(statistics, alpha), statistics.sigma)


RULES: dict[str, Callable[[Statistics, float | None], float]] = {
    "vote": vote,
    "mean": mean,
    "lipschitz": lipschitz,
    "distribution": distribution,
    "published_mean": published_mean,
    "published_se": published_se,
}
"""Every rule by its name; the two published ones are for comparison and are no guarantee."""


def distribution_radius(thresholds: np.ndarray, probabilities: np.ndarray, sigma: float) -> float:
    """Largest r at which every rival's margin ``-1 + int Phi(Phi^-1(P(xi > t)) - r/sigma) dt`` is positive.

    The integral over [-1, 1] is a lower Riemann sum: the value at a threshold stands for the interval on its
    left, and nothing is counted right of the last threshold. The margins decrease in r, so one bisection finds the
    smallest root over all rivals; its lower end is returned.

    Args:
        thresholds: (rivals, m) in [-1, 1], ascending in each row.
        probabilities: (rivals, m), P(xi > threshold) or lower bounds, not increasing in each row.
        sigma: standard deviation of the noise.

    Returns:
        The radius in the unit of sigma: 0.0 if some margin is not positive at 0 (or is NaN), ``inf`` if all margins
        stay positive for ever (probabilities of exactly 1).
    """
    widths = np.diff(thresholds, axis=1, prepend=-1.0)
    quantiles = ndtri(probabilities)

    def margins(radius: float, rivals: np.ndarray | slice = np.s_[:]) -> np.ndarray:
        return (widths[rivals] * ndtr(quantiles[rivals] - radius)).sum(axis=1) - 1.0 - ROUNDING

    if not margins(0.0).min() > 0.0:
        return 0.0
    low, high = 0.0, float(np.max(quantiles, where=np.isfinite(quantiles), initial=0.0)) + 40.0
    rivals = np.flatnonzero(margins(high) <= 0.0)
    if rivals.size == 0:
        return math.inf
    while high - low > ROUNDING * high:
        middle = (low + high) / 2.0
        beaten = margins(middle, rivals) <= 0.0
        if beaten.any():  # the smallest root lies below: rivals with a positive margin here cannot own it
            high, rivals = middle, rivals[beaten]
        else:
            low = middle
    return low * sigma


def exceedance_bounds(statistics: Statistics, alpha: float | None) -> np.ndarray:
    """Simultaneous lower bounds on P(xi_k > t_kj), shape (K-1, m), not increasing in t.

    Half of alpha is shared evenly by the (K-1) m single events, the other half (see `joint_shares`) by the m joint
    events "xi_k > t_kj for all rivals k". A joint event is contained in each of its single events, so the bound
    on its probability is a bound for every rival, and it pays for no union over rivals: far left of the means, where
    nearly all of the integral is, all xi_k clear their thresholds at once and the joint bound is the better one. And
    since P(xi > t) does not increase in t, a bound at t also holds at every smaller threshold.
    """
    num_rivals, num_thresholds = statistics.exceedances.shape
    n, single, joint = statistics.num_samples, statistics.exceedances, statistics.joint_exceedances
    if alpha is None:
        bounds = _proportions(single, n, None)
    elif num_rivals == 1:
        bounds = clopper_pearson_lower(single, n, alpha / num_thresholds)
    else:
        shares = joint_shares(alpha / 2.0, num_thresholds)
        together = [clopper_pearson_lower(k, n, share) for k, share in zip(joint, shares, strict=True)]
        alone = clopper_pearson_lower(single, n, alpha / (2.0 * num_rivals * num_thresholds))
        bounds = np.maximum(alone, np.array(together))
    return np.maximum.accumulate(bounds[:, ::-1], axis=1)[:, ::-1]


def joint_shares(alpha: float, num_thresholds: int) -> np.ndarray:
    """Splits alpha over the joint events, leftmost first, each 0.8 times the one before: few reach the right."""
    weights = 0.8 ** np.arange(num_thresholds)
    return alpha * weights / weights.sum()


def mean_bounds(statistics: Statistics, alpha: float | None) -> np.ndarray:
    """Simultaneous lower bounds on h_k = E xi_k, shape (K-1,): the best of three, each at a third of alpha."""
    means, n = statistics.xi_mean, statistics.num_samples
    if alpha is None:
        return np.minimum(means, 1.0 - 1.0 / n)  # as in _proportions, for coin flips that never came up tails
    share = alpha / 3.0
    single = share / len(means)
    radius = np.minimum(
        empirical_bernstein_radius(statistics.xi_variance, n, single, width=2.0),
        min(hoeffding_radius(n, single, width=2.0), vector_bound_radius(n, share)),
    )
    return means - radius


def _smallest_mean(statistics: Statistics, alpha: float | None) -> float:
    return float(mean_bounds(statistics, alpha).min()) - ROUNDING


def _proportions(counts: np.ndarray, n: int, alpha: float | None) -> np.ndarray:
    """Lower bounds on proportions, or the proportions themselves with n of n counted as n - 1/2 of n."""
    return np.minimum(counts / n, 1.0 - 0.5 / n) if alpha is None else clopper_pearson_lower(counts, n, alpha)
