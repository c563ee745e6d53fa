"""Confidence bounds for means of independent bounded samples: numbers in, numbers out, float64 throughout.

Clopper and Pearson 1934 for proportions, Hoeffding 1963 and Maurer and Pontil 2009 (Theorem 4) for means,
McDiarmid 1989 for the norm of a mean of unit vectors.
"""

import math

import numpy as np
from scipy.special import betaincinv

ROUNDING = 1e-12
"""Relative slack by which lower bounds are rounded down: far above float64 error, far below any radius."""


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
    return (lower * (1.0 - ROUNDING))[inverse].reshape(counts.shape)


def clopper_pearson_upper(k: np.ndarray | int, n: int, alpha: float) -> np.ndarray:
    """One-sided upper confidence bound on a proportion; arguments as in `clopper_pearson_lower`."""
    return 1.0 - clopper_pearson_lower(n - _check_counts(k, n, alpha), n, alpha)


def hoeffding_radius(n: int, alpha: float, width: float = 1.0) -> float:
    """One-sided: the true mean is above the sample mean minus this, except with probability alpha.

    Args:
        n: number of independent samples.
        alpha: error probability in (0, 1).
        width: length of the interval that holds every sample.
    """
    return width * math.sqrt(math.log(1.0 / alpha) / (2.0 * n))


def empirical_bernstein_radius(variance: np.ndarray | float, n: int, alpha: float, width: float = 1.0) -> np.ndarray:
    """One-sided bound of Maurer and Pontil 2009, Theorem 4: good where the samples hardly vary.

    Args:
        variance: sample variance with the divisor n - 1, any shape.
        n: number of independent samples; the bound is infinite for n = 1.
        alpha: error probability in (0, 1).
        width: length of the interval that holds every sample.

    Returns:
        Float64 array of the shape of variance; the true mean is above the sample mean minus this.
    """
    variance = np.asarray(variance, dtype=np.float64)
    if n < 2:
        return np.full(variance.shape, np.inf)
    log_term = math.log(2.0 / alpha)
    return np.sqrt(2.0 * variance * log_term / n) + 7.0 * width * log_term / (3.0 * (n - 1))


def vector_bound_radius(n: int, alpha: float) -> float:
    """Norm of (sample mean - true mean) of unit vectors, exceeded with probability at most alpha.

    ``E|g_hat - g| <= 1/sqrt(n)``, and one sample moves the norm by at most 2/n, so McDiarmid's inequality gives
    ``(1 + sqrt(2 ln(1/alpha)))/sqrt(n)``. It holds for every direction at once: no union over rivals.
    """
    return (1.0 + math.sqrt(2.0 * math.log(1.0 / alpha))) / math.sqrt(n)


def spend(alpha: float, num_looks: int) -> list[float]:
    """Shares of alpha for each of a known number of looks, earliest first; their sum is alpha.

    The last look takes half, the one before it a quarter and so on (the first two are equal): nearly all radii
    are decided at the last look, where the price of having looked before is ln(2)/n in probability.
    """
    return [alpha * 2.0 ** -min(num_looks - look, num_looks - 1) for look in range(num_looks)]


def _check_counts(k: np.ndarray | int, n: int, alpha: float) -> np.ndarray:
    counts = np.asarray(k)
    if n < 1:
        raise ValueError(f"n must be at least 1, got {n}")
    if not 0.0 < alpha < 1.0:
        raise ValueError(f"alpha must lie in (0, 1), got {alpha}")
    if counts.size and (counts.min() < 0 or counts.max() > n):
        raise ValueError(f"k must lie in [0, n = {n}], got values from {counts.min()} to {counts.max()}")
    return counts
