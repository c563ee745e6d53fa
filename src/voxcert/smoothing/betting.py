"""Tests the mean of a non-negative variable by betting against it: numbers in, numbers out, float64 throughout.

Waudby-Smith and Ramdas 2023 (Section 4): under "the mean is at most mu" the wealth ``prod_i (1 - c + c v_i / mu)``
has mean at most 1 for every bet c in [0, 1], so by Ville's inequality it exceeds 1/alpha at any time at all with
probability at most alpha. An average of wealths over bets that were fixed beforehand is a wealth too; here it depends
on the samples through counts alone, so looks are free, shards add up and memory does not grow.
"""

import math

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit

BETS = expit(np.linspace(-7.0, 7.0, 45))
"""Shares of the wealth at stake, geometric towards 0 and towards 1, for variables that come near 0."""

ALL_IN = 0.75
"""Weight of the bet c = 1, the one that wins most where the variable keeps clear of 0."""

FEW_BETS = np.array([*BETS[::5], 1.0])
"""Bets of a wealth that is kept bet by bet, since its variable has no few values to count; the last has `ALL_IN`."""

FEW_WEIGHTS = np.array([(1.0 - ALL_IN) / (len(FEW_BETS) - 1)] * (len(FEW_BETS) - 1) + [ALL_IN])
"""Weights of `FEW_BETS`."""

SLACK = 1e-6
"""Added to the logarithm of the wealth that is asked for: 10^9 samples may each add 3e-16 by rounding."""

LEAST, PRECISION = 1e-12, 1e-10
"""Smallest mean that is told from 0, and how far, as a share, a lower bound on a mean may lie below where it could."""

_LOG_WEIGHTS = np.full(len(BETS), math.log((1.0 - ALL_IN) / len(BETS)))


def goal(alpha: float) -> float:
    """Logarithm of the wealth at which "the mean is at most mu" is rejected at level alpha."""
    return -math.log(alpha) + SLACK


def log_all_in(ratios: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Logarithm of the part of the wealth that bets everything, a lower bound on all of it; see `log_wealth`."""
    with np.errstate(divide="ignore"):
        logs = np.log(ratios)
    terms = np.multiply(logs, counts, where=counts > 0, out=np.zeros(np.broadcast_shapes(logs.shape, counts.shape)))
    return terms.sum(axis=-1) + math.log(ALL_IN)


def log_wealth(ratios: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Logarithm of the wealth, averaged over all bets.

    Args:
        ratios: (..., values) the variable's values divided by the hypothetical mean, at least 0.
        counts: (..., values) how often each value was seen.

    Returns:
        Shape (...).
    """
    ratios, counts = np.broadcast_arrays(ratios, counts)
    stakes = np.log(1.0 - BETS[:, None] + BETS[:, None] * ratios[..., None, :])  # (..., bets, values)
    partial = np.matmul(stakes, counts[..., :, None].astype(np.float64))[..., 0] + _LOG_WEIGHTS
    return np.logaddexp(log_sum(partial), log_all_in(ratios, counts))


def log_sum(logs: np.ndarray) -> np.ndarray:
    """Logarithm of the sum over the last axis of what these are the logarithms of (scipy's is slow on small arrays)."""
    largest = logs.max(axis=-1, keepdims=True)
    largest = np.where(largest > -math.inf, largest, 0.0)
    with np.errstate(divide="ignore"):
        return largest[..., 0] + np.log(np.exp(logs - largest).sum(axis=-1))


def mean_lower_bound(values: np.ndarray, counts: np.ndarray, alpha: float) -> float:
    """Lower confidence bound at level alpha on the mean of a non-negative variable, valid at every sample size at once.

    The wealth falls as the hypothetical mean grows, so the means that are rejected are those below the bound.

    Args:
        values: (values,) at least 0.
        counts: (values,) how often each was seen, at least one sample.
        alpha: in (0, 1).

    Returns:
        The bound, rounded down by `PRECISION`; 0 if it is below `LEAST`.
    """
    seen = counts > 0
    values, counts = values[seen], counts[seen]
    average = float(values @ counts / counts.sum())
    if average <= LEAST:
        return 0.0

    def excess(distance: float) -> float:  # of the logarithm of the mean below that of the average
        return float(log_wealth(values / (average * math.exp(-distance)), counts)) - goal(alpha)

    far = 0.1
    while excess(far) <= 0.0:
        far *= 2.0
        if average * math.exp(-far) < LEAST:
            return 0.0
    root = brentq(excess, 0.0, far, xtol=PRECISION / 4, rtol=PRECISION / 64)  # at 0 the wealth is 1 at most (Jensen)
    return average * math.exp(-root - PRECISION)


def smallest_mean_bound(values: np.ndarray, counts: np.ndarray, alpha: float) -> float:
    """The smallest `mean_lower_bound` among several variables, each at level alpha.

    A variable whose wealth at the smallest bound so far is large enough has a larger bound: it needs no search.

    Args:
        values: (variables, values) at least 0.
        counts: (variables, values).
        alpha: in (0, 1).
    """
    left = np.argsort((values * counts).sum(axis=1), kind="stable")
    best = math.inf
    while left.size:
        best = min(best, mean_lower_bound(values[left[0]], counts[left[0]], alpha))
        left = left[1:]
        if best <= 0.0:
            break
        left = left[log_all_in(values[left] / best, counts[left]) < goal(alpha)]
        below = [log_wealth(values[part] / best, counts[part]) < goal(alpha) for part in _parts(left)]
        left = left[np.concatenate([np.zeros(0, dtype=bool), *below])]
    return best


def _parts(indices: np.ndarray, size: int = 128) -> list[np.ndarray]:
    """Indices in portions whose wealths fit into memory."""
    return [indices[start : start + size] for start in range(0, len(indices), size)]
