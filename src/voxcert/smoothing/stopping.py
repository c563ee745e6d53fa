"""When sampling on is not worth it: looks cost no error probability, so a certificate may end at any of them.

Whatever is decided here, certificates stay valid (Ville's inequality; Waudby-Smith and Ramdas 2023).
"""

import math
from dataclasses import replace

import numpy as np

from voxcert.smoothing.bounds import clopper_pearson_upper
from voxcert.smoothing.certificate import ABSTAIN
from voxcert.smoothing.rules import RULES
from voxcert.smoothing.statistics import XI_UNIT, Statistics, counts_of


def settled(
    statistics: Statistics, radii: dict[str, float], alpha: float, target: float | None, tolerance: float
) -> bool:
    """Whether sampling on is not worth it for any rule.

    Args:
        statistics: of the samples so far.
        radii: what each rule certifies with them.
        alpha: error probability of a certificate.
        target: a rule that has certified this radius asks for no more.
        tolerance: neither does one whose radius would not grow by more than this share, or not above 0.
    """
    enough, best = math.inf if target is None else target, favourable(statistics, alpha)
    return all(
        radius >= enough or not RULES[rule](best, alpha) > (1.0 + tolerance) * max(radius, ABSTAIN)
        for rule, radius in radii.items()
    )


def favourable(statistics: Statistics, alpha: float) -> Statistics:
    """Statistics of all planned samples if the remaining ones turned out as well as the data so far allow.

    "As well" means Clopper-Pearson upper bounds at level alpha for votes and exceedances. It only decides whether
    sampling on is worth it; certificates stay valid whatever the stopping rule is.
    """
    n = statistics.num_samples
    rest = statistics.num_planned - n

    def more(counts: np.ndarray) -> np.ndarray:
        return counts + np.ceil(rest * clopper_pearson_upper(counts, n, alpha)).astype(np.int64)

    above = np.minimum.accumulate(more(statistics.exceedances), axis=1)
    return replace(
        statistics,
        ranges=((0, statistics.num_planned),),
        vote_counts=more(statistics.vote_counts),
        counts=counts_of(above, statistics.num_planned),
        xi_sum=statistics.xi_sum + rest * np.int64(1.0 / XI_UNIT),
    )
