"""What a rule would say if the shares that were counted were the probabilities: an estimate, not a guarantee.

No confidence bound and no rounding down of the integral (Cohen et al. 2019 plot such estimates beside certificates).
Where all n samples agreed, the share is taken for 1 - 1/(2n), so the estimate is at most ``sigma Phi^-1(1 - 1/(2n))``.
"""

import math

import numpy as np
from scipy.special import ndtr, ndtri

from voxcert.smoothing.published import published_mean, published_se
from voxcert.smoothing.statistics import Statistics


def plug_in_radius(rule: str, statistics: Statistics) -> tuple[float, bool]:
    """The estimate of a rule's radius, at least 0, and whether the cap decided it: then the true one may be larger."""
    n = statistics.num_samples
    cap = 1.0 - 0.5 / n
    if rule == "vote":
        share = statistics.vote_counts[statistics.pilot.voted] / n
        radius, capped = float(ndtri(min(share, cap))), bool(share > cap)
    elif rule in ("mean", "lipschitz"):
        margin = float(statistics.xi_mean.min())
        capped, margin = margin > 2.0 * cap - 1.0, min(margin, 2.0 * cap - 1.0)
        radius = float(ndtri((1.0 + margin) / 2.0)) if rule == "mean" else math.sqrt(math.pi / 2.0) * margin
    elif rule == "distribution":
        radius, capped = _distribution(statistics, cap)
    else:
        published = {"published_mean": published_mean, "published_se": published_se}[rule]
        radius, capped = published(statistics, None) / statistics.sigma, False
    return (statistics.sigma * radius, capped) if 0.0 < radius < math.inf else (0.0, False)


def _distribution(statistics: Statistics, cap: float) -> tuple[float, bool]:
    """The smallest root over all rivals of the margin, its integral by the trapezoidal rule between thresholds.

    Capped if all samples of that rival are above a threshold, so that its share there is no more than a guess.
    """
    thresholds, shares = statistics.pilot.thresholds, statistics.exceedances / statistics.num_samples
    widths, quantiles = np.diff(thresholds, axis=1), ndtri(np.minimum(shares, cap))

    def margins(s: np.ndarray) -> np.ndarray:
        heights = ndtr(quantiles - s[:, None])
        inner = ((heights[:, 1:] + heights[:, :-1]) / 2.0 * widths).sum(axis=1)
        return inner + heights[:, 0] * (thresholds[:, 0] + 1.0) - 1.0

    low, high = np.zeros(len(thresholds)), np.full(len(thresholds), 10.0)
    if not margins(low).min() > 0.0:
        return 0.0, False
    for _ in range(40):
        middle = (low + high) / 2.0
        positive = margins(middle) > 0.0
        low, high = np.where(positive, middle, low), np.where(positive, high, middle)
    nearest = int(low.argmin())
    return float(low[nearest]), bool((shares[nearest] > cap).any())
