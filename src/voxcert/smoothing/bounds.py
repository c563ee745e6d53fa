"""Confidence bounds for means of independent bounded samples: numbers in, numbers out, float64 throughout.

Clopper and Pearson 1934 for proportions, McDiarmid 1989 for the norm of a mean of unit vectors.
"""

import math

import numpy as np
from scipy.special import betaincinv

ROUNDING = 1e-12
"""Relative slack of sums and integrals: far above float64 error, far below any radius."""

QUANTILE_ERROR = 1e-10
"""Relative slack of quantiles of the beta distribution: scipy's are off by up to 6e-19 n (8e-13 at n = 10^6)."""


def clopper_pearson_lower(k: np.ndarray | int, n: int, alpha: float) -> np.ndarray:
    """One-sided lower confidence bound on a proportion, exact for every n.

    The bound p solves ``P(Binomial(n, p) >= k) = alpha``, and is 0 for k = 0 and ``alpha^(1/n)`` for k = n.

    Args:
        k: successes, any shape, integers in [0, n].
        n: number of trials, at least 1.
        alpha: probability in (0, 1) that the bound lies above the true proportion, at most.

    Returns:
        Float64 array of the shape of k, rounded down.

    Raises:
        ValueError: if k, n or alpha is out of range.
    """
    counts = _check_counts(k, n, alpha)
    # Thousands of counts repeat (one per rival and threshold): invert the beta distribution once for each value.
    values, inverse = np.unique(counts, return_inverse=True)
    lower = np.zeros(values.shape)
    inner = (values > 0) & (values < n)
    lower[inner] = betaincinv(values[inner], n - values[inner] + 1.0, alpha)
    lower[values == n] = alpha ** (1.0 / n)
    return (lower * (1.0 - QUANTILE_ERROR))[inverse].reshape(counts.shape)


def clopper_pearson_upper(k: np.ndarray | int, n: int, alpha: float) -> np.ndarray:
    """One-sided upper confidence bound on a proportion; arguments as in `clopper_pearson_lower`."""
    return 1.0 - clopper_pearson_lower(n - _check_counts(k, n, alpha), n, alpha)


def vector_bound_radius(n: int, alpha: float) -> float:
    """Norm of (sample mean - true mean) of unit vectors, exceeded with probability at most alpha.

    ``E|g_hat - g| <= 1/sqrt(n)``, and one sample moves the norm by at most 2/n, so McDiarmid's inequality gives
    ``(1 + sqrt(2 ln(1/alpha)))/sqrt(n)``. It holds for every direction at once: no union over rivals.
    """
    return (1.0 + math.sqrt(2.0 * math.log(1.0 / alpha))) / math.sqrt(n)


def _check_counts(k: np.ndarray | int, n: int, alpha: float) -> np.ndarray:
    counts = np.asarray(k)
    if n < 1:
        raise ValueError(f"n must be at least 1, got {n}")
    if not 0.0 < alpha < 1.0:
        raise ValueError(f"alpha must lie in (0, 1), got {alpha}")
    if counts.size and (counts.min() < 0 or counts.max() > n):
        raise ValueError(f"k must lie in [0, n = {n}], got values from {counts.min()} to {counts.max()}")
    return counts
