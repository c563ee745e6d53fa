"""Certification rules: from the statistics of noisy embeddings to a radius in which the prediction is fixed.

`vote` follows Cohen et al. 2019; `mean` Korzh et al. 2024 (Theorem 1) and `lipschitz` Pautov et al. 2022, both
corrected to the minimum over all rivals; `distribution` applies the Lipschitz lemma at every threshold.

A rule is called with the error probability it may spend and returns a radius (waveform amplitude, l2) that is too
large with at most that probability; a result that is not above 0, NaN included, means abstain. One alpha pays for
all rivals (every rival's own bound spends all of it) and for all looks.
"""

import math
from collections.abc import Callable

import numpy as np
from scipy.special import ndtri

from voxcert.smoothing.betting import mean_lower_bound, smallest_mean_bound
from voxcert.smoothing.bounds import clopper_pearson_lower
from voxcert.smoothing.distribution import distribution_radius
from voxcert.smoothing.published import published_mean, published_se
from voxcert.smoothing.statistics import Statistics

VOTE_BETTING = 1 / 4
"""Share of alpha for looks at votes; most samples that matter are seen to the end, where counting is stronger."""


def vote(statistics: Statistics, alpha: float) -> float:
    """``sigma * Phi^-1(p)`` with p a lower bound on the share of votes (Cohen et al. 2019).

    Clopper-Pearson where nothing was looked at before all samples were there. With looks the larger of two bounds that
    share alpha: betting, which holds at any look, and Clopper-Pearson for all the planned samples.
    """
    count, n = int(statistics.vote_counts[statistics.pilot.voted]), statistics.num_samples
    looked = statistics.num_looks > 1
    bounds = []
    if looked or not statistics.complete:
        votes = np.array([n - count, count])
        bounds.append(mean_lower_bound(np.array([0.0, 1.0]), votes, alpha * (VOTE_BETTING if looked else 1.0)))
    if statistics.complete:
        bounds.append(float(clopper_pearson_lower(count, n, alpha * (1.0 - VOTE_BETTING if looked else 1.0))))
    return float(statistics.sigma * ndtri(max(bounds)))


def mean(statistics: Statistics, alpha: float) -> float:
    """``min_k sigma * Phi^-1((1 + h_k)/2)`` with lower bounds h_k on the means of xi_k (Korzh et al. 2024)."""
    return float(statistics.sigma * ndtri((1.0 + smallest_mean(statistics, alpha)) / 2.0))


def lipschitz(statistics: Statistics, alpha: float) -> float:
    """``min_k sigma * sqrt(pi/2) * h_k`` (Pautov et al. 2022 with one power of the distance of prototypes).

    Never above `mean`, for ``Phi^-1((1 + h)/2) >= sqrt(pi/2) h`` on [0, 1].
    """
    return float(statistics.sigma * math.sqrt(math.pi / 2.0) * smallest_mean(statistics, alpha))


def distribution(statistics: Statistics, alpha: float) -> float:
    """Uses the whole distribution of each xi_k: see `distribution_radius`."""
    return statistics.sigma * distribution_radius(statistics, alpha)


RULES: dict[str, Callable[[Statistics, float], float]] = {
    "vote": vote,
    "mean": mean,
    "lipschitz": lipschitz,
    "distribution": distribution,
    "published_mean": published_mean,
    "published_se": published_se,
}
"""Every rule by its name; the two published ones are for comparison and are no guarantee."""


def smallest_mean(statistics: Statistics, alpha: float) -> float:
    """Lower bound on ``min_k E xi_k``: the smallest of bounds at level alpha each.

    Every sample is rounded down to the threshold below it, so the bound needs the counts alone.
    """
    thresholds = statistics.pilot.thresholds
    floors = np.concatenate([np.zeros((len(thresholds), 1)), 1.0 + thresholds], axis=1)
    return smallest_mean_bound(floors, statistics.counts, alpha) - 1.0
