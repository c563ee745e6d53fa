"""The radii of Korzh et al. 2024 as printed, for tables that set them beside sound ones: not a guarantee.

Equations 8, 16 and 19: only the runner-up is looked at, which is unsound for three or more speakers, and the
Lipschitz radius divides by the squared distance of the prototypes.
"""

import math

import numpy as np
from scipy.special import ndtri

from voxcert.smoothing.statistics import Statistics


def published_mean(statistics: Statistics, alpha: float | None) -> float:
    """``sigma * Phi^-1(phi)`` against the runner-up (Theorem 1, Eq. 8, with Eq. 16). Not a guarantee."""
    margin, _ = _runner_up(statistics, alpha)
    return float(statistics.sigma * ndtri(np.clip((1.0 + margin) / 2.0, 0.0, 1.0)))


def published_se(statistics: Statistics, alpha: float | None) -> float:
    """Smoothed Embeddings as printed in Eq. 19, squared distance included, with Eq. 16. Not a guarantee."""
    margin, distance = _runner_up(statistics, alpha)
    return float(statistics.sigma * math.sqrt(math.pi / 2.0) * margin / distance) if distance else math.nan


def _runner_up(statistics: Statistics, alpha: float | None) -> tuple[float, float]:
    """Lower bound on <g, c_A - c_2>/|c_A - c_2| by Eq. 16 (n = 2N samples; none for alpha None), and |c_A - c_2|."""
    distances = statistics.pilot.distances
    second = int(np.argmin(statistics.xi_mean * distances))
    interval = 0.0 if alpha is None else 2.0 * math.sqrt(math.log(2.0 / alpha) / (2.0 * statistics.num_samples))
    return float(statistics.xi_mean[second]) - interval, float(distances[second])
