"""What one rule says in the end: a class with a radius, or an abstention with its reason.

The last lines of CERTIFY in Cohen et al. 2019, written so that NaN abstains.
"""

import math
from dataclasses import dataclass

from voxcert.smoothing.certificate import ABSTAIN
from voxcert.smoothing.pilot import Pilot
from voxcert.smoothing.rules import RULES
from voxcert.smoothing.statistics import Statistics


@dataclass(frozen=True)
class Outcome:
    """The verdict of one rule; the fields mean what they mean in a `Certificate`, the prediction is an index."""

    rule: str
    prediction: int | None
    radius: float
    abstained: str | None
    point_radius: float


def judge(rule: str, radius: float, pilot: Pilot | None, statistics: Statistics | None) -> Outcome:
    """Turns the largest radius of a rule into its verdict.

    Args:
        rule: name out of `RULES`.
        radius: the largest lower bound of all looks; not above 0, NaN included, means abstain.
        pilot: the choices made from the selection samples, None if those were not finite.
        statistics: of all estimation samples, None if there were none.
    """
    if pilot is None:
        return Outcome(rule, None, ABSTAIN, "non-finite embeddings", 0.0)
    prediction = pilot.voted if rule == "vote" else pilot.predicted
    if statistics is None or not statistics.finite:
        return Outcome(rule, prediction, ABSTAIN, "non-finite embeddings", 0.0)
    point = RULES[rule](statistics, None)
    point = point if 0.0 < point < math.inf else 0.0
    if radius > ABSTAIN:
        return Outcome(rule, prediction, radius, None, point)
    if rule == "vote":
        reason = "no majority"
    else:
        reason = "tied prototypes" if pilot.tied else "lower bound not positive"
    return Outcome(rule, prediction, ABSTAIN, reason, point)
