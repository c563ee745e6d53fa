"""The rules `distribution` and `mean` as they were with union bounds, to be compared with on the same samples.

Alpha is shared by all rivals and thresholds: Clopper and Pearson 1934 for every single event "xi_k > t" and for the
joint events "xi_k > t for all k"; Maurer and Pontil 2009 (Theorem 4), Hoeffding 1963 and the bound on the norm of a
mean of unit vectors for means. Sound, and weaker the more speakers are enrolled.
"""

import math

import numpy as np
from scipy.special import ndtri

from voxcert.smoothing.bounds import clopper_pearson_lower, vector_bound_radius
from voxcert.smoothing.distribution import riemann_radii
from voxcert.smoothing.forecast import FAR, HIGHEST_THRESHOLD, SMALLEST_SPREAD

NUM_THRESHOLDS = 24


def union_distribution(selected: np.ndarray, xi: np.ndarray, alpha: float) -> float:
    """Radius of `distribution` in units of sigma: bounds on P(xi_k > t) that hold at once, integrated.

    Args:
        selected: (num_select, K-1) selection samples of xi, which place the thresholds.
        xi: (n, K-1) estimation samples.
        alpha: error probability.
    """
    thresholds = _place_thresholds(selected.T)
    above = xi.T[:, :, None] > thresholds[:, None, :]  # (rivals, n, m)
    (num_rivals, m), n = thresholds.shape, len(xi)
    if num_rivals == 1:
        bounds = clopper_pearson_lower(above.sum(axis=1), n, alpha / m)
    else:
        shares = 0.8 ** np.arange(m)
        shares *= alpha / 2.0 / shares.sum()
        joint = above.all(axis=0).sum(axis=0)
        together = [float(clopper_pearson_lower(k, n, share)) for k, share in zip(joint, shares, strict=True)]
        alone = clopper_pearson_lower(above.sum(axis=1), n, alpha / (2.0 * num_rivals * m))
        bounds = np.maximum(alone, together)
    return float(riemann_radii(thresholds, np.maximum.accumulate(bounds[:, ::-1], axis=1)[:, ::-1]).min())


def union_mean(xi: np.ndarray, alpha: float) -> float:
    """Radius of `mean` in units of sigma: the best of three bounds on every E xi_k, each at a third of alpha.

    Args:
        xi: (n, K-1) estimation samples.
        alpha: error probability.
    """
    n, num_rivals = xi.shape
    single = alpha / 3.0 / num_rivals
    bernstein = np.sqrt(2.0 * xi.var(axis=0, ddof=1) * math.log(2.0 / single) / n)
    bernstein += 14.0 * math.log(2.0 / single) / (3.0 * (n - 1))
    hoeffding = 2.0 * math.sqrt(math.log(1.0 / single) / (2.0 * n))
    slack = np.minimum(bernstein, min(hoeffding, vector_bound_radius(n, alpha / 3.0)))
    return float(ndtri((1.0 + max(float((xi.mean(axis=0) - slack).min()), 0.0)) / 2.0))


def _place_thresholds(xi: np.ndarray) -> np.ndarray:
    """(rivals, m) ascending: an even grid around the mean and, a third of all, quantiles of the samples (rivals, n)."""
    num_quantiles = NUM_THRESHOLDS // 3
    offsets = np.concatenate([FAR, np.linspace(-6.0, 2.0, NUM_THRESHOLDS - num_quantiles - len(FAR))])
    even = xi.mean(axis=1, keepdims=True) + xi.std(axis=1, keepdims=True).clip(SMALLEST_SPREAD) * offsets
    places = (np.linspace(0.0, 0.9, num_quantiles) * (xi.shape[1] - 1)).astype(np.int64)
    quantiles = np.sort(xi, axis=1)[:, places] - SMALLEST_SPREAD
    return np.sort(np.concatenate([even, quantiles], axis=1).clip(-1.0, HIGHEST_THRESHOLD), axis=1)
