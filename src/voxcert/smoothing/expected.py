"""What more samples would certify if they fell as a pilot's did: an estimate to plan by, not a guarantee.

The rules are those of certificates (Cohen et al. 2019 and docs/guarantee.md); only the counts are made up.
"""

import math
from dataclasses import replace

import numpy as np

from voxcert.smoothing.outcome import lower_radius
from voxcert.smoothing.statistics import Statistics, counts_of


def expected_radius(rule: str, statistics: Statistics, num_samples: int, alpha: float, *, doubt: bool = True) -> float:
    """The radius that a rule would give for so many samples whose counts are those of a pilot, scaled; at least 0.

    Args:
        rule: name out of `rules.RULES`.
        statistics: of a pilot.
        num_samples: n, that are planned.
        alpha: error probability of the planned certificate.
        doubt: as for `scaled`.
    """
    radius = lower_radius(rule, scaled(statistics, num_samples, doubt=doubt), alpha)
    return radius if 0.0 < radius < math.inf else 0.0


def scaled(statistics: Statistics, num_samples: int, *, doubt: bool = True) -> Statistics:
    """A pilot's statistics as if it had drawn `num_samples` samples, counts rounded down.

    Half a sample of the pilot is taken to have failed everything, votes and thresholds alike: a few samples that all
    agree do not show that thousands would, and plug-in estimates are capped in the same way (`plug_in`). Without this
    doubt, samples that all agree foretell that thousands do.

    Args:
        statistics: of the pilot.
        num_samples: of the result, at least 1.
        doubt: whether half a sample is taken to have failed.
    """
    n, voted = statistics.num_samples, statistics.pilot.voted
    halves = 2 * n - doubt  # of samples that are taken to be as they were

    def as_if(counts: np.ndarray) -> np.ndarray:  # in integers: a count that comes out even is not rounded down
        return counts * (num_samples * halves) // (2 * n**2)

    votes = as_if(statistics.vote_counts)
    votes[0 if voted else 1] += num_samples - votes.sum()
    return replace(
        statistics,
        num_planned=num_samples,
        num_looks=1,
        ranges=((0, num_samples),),
        vote_counts=votes,
        counts=counts_of(as_if(statistics.exceedances), num_samples),
        xi_sum=np.floor(statistics.xi_sum * (num_samples / n)).astype(np.int64),
    )
