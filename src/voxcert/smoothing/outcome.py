"""What one rule says in the end: a class with a radius, or an abstention with its reason.

The last lines of CERTIFY in Cohen et al. 2019, written so that NaN abstains.
"""

from dataclasses import dataclass, replace

from voxcert.smoothing.certificate import ABSTAIN, Certificate, signal_to_perturbation_db
from voxcert.smoothing.pilot import Pilot
from voxcert.smoothing.plug_in import plug_in_radius
from voxcert.smoothing.rules import RULES
from voxcert.smoothing.statistics import Statistics
from voxcert.smoothing.validation import require

DRAW_ERROR = 2.0**-50
"""Total variation between a number drawn as a float64 normal and the ideal, assumed of the generator."""

UNUSABLE = "non-finite or zero embeddings"


@dataclass(frozen=True)
class Outcome:
    """The verdict of one rule; the fields mean what they mean in a `Certificate`, the prediction is an index."""

    prediction: int | None
    radius: float
    abstained: str | None
    point_radius: float = 0.0
    point_capped: bool = False


def lower_radius(rule: str, statistics: Statistics, alpha: float, num_values: int) -> float:
    """The radius of a rule at level alpha, after the charge for noise that was drawn by a computer.

    Args:
        rule: name out of `RULES`.
        statistics: of the estimation samples.
        alpha: error probability of the certificate.
        num_values: numbers in one sample, each off by `DRAW_ERROR` at most.
    """
    left = alpha - num_values * statistics.num_planned * DRAW_ERROR
    return RULES[rule](statistics, left) if statistics.finite and left > 0.0 else ABSTAIN


def judge(rule: str, radius: float, pilot: Pilot | None, statistics: Statistics | None) -> Outcome:
    """Turns the radius of a rule into its verdict.

    Args:
        rule: name out of `RULES`.
        radius: the lower bound; not above 0, NaN included, means abstain.
        pilot: the choices made from the selection samples, None if those were not finite.
        statistics: of all estimation samples, None if there were none.
    """
    if pilot is None:
        return Outcome(None, ABSTAIN, UNUSABLE)
    prediction = pilot.voted if rule == "vote" else pilot.predicted
    if statistics is None or not statistics.finite:
        return Outcome(prediction, ABSTAIN, UNUSABLE)
    point, capped = plug_in_radius(rule, statistics)
    if radius > ABSTAIN:
        return Outcome(prediction, radius, None, point, capped)
    if rule == "vote":
        reason = "no majority"
    else:
        reason = "tied prototypes" if pilot.tied else "lower bound not positive"
    return Outcome(prediction, ABSTAIN, reason, point, capped)


def recertify(row: Certificate, statistics: Statistics, alpha: float | None = None) -> Certificate:
    """The certificate of a row's utterance and rule from kept statistics: no encoder, no forward pass.

    With the statistics of the very samples of the row it equals certifying anew at this alpha; with those of more
    samples (see `Statistics.merge`) it is the certificate of them all.

    Args:
        row: a certificate of the utterance by the wanted rule.
        statistics: of its estimation samples.
        alpha: error probability; by default the row's.

    Raises:
        ValueError: if alpha is not in (0, 1).
    """
    alpha = row.alpha if alpha is None else alpha
    require("alpha", alpha, "in (0, 1)", 0.0 < alpha < 1.0)
    radius = lower_radius(row.rule, statistics, alpha, row.num_samples)
    outcome = judge(row.rule, radius, statistics.pilot, statistics)
    return replace(
        row,
        alpha=alpha,
        radius=outcome.radius,
        abstained=outcome.abstained,
        point_radius=outcome.point_radius,
        point_capped=outcome.point_capped,
        num_estimate=statistics.num_samples,
        num_forwards=row.num_select + statistics.num_samples,
        snr_db=signal_to_perturbation_db(row.waveform_norm, outcome.radius),
        radius_rms=outcome.radius / row.num_samples**0.5,
    )
