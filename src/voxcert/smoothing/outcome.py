"""What one rule says in the end: a class with a radius, or an abstention with its reason.

The last lines of CERTIFY in Cohen et al. 2019, written so that NaN abstains.
"""

from dataclasses import dataclass, replace

from voxcert.smoothing.certificate import ABSTAIN, Certificate, signal_to_perturbation_db
from voxcert.smoothing.pilot import Pilot
from voxcert.smoothing.plug_in import plug_in_radius
from voxcert.smoothing.prediction import UNUSABLE
from voxcert.smoothing.rules import RULES
from voxcert.smoothing.sampler import draw_error
from voxcert.smoothing.statistics import Statistics
from voxcert.smoothing.validation import require


@dataclass(frozen=True)
class Outcome:
    """The verdict of one rule; the fields mean what they mean in a `Certificate`, the prediction is an index."""

    prediction: int | None
    radius: float
    abstained: str | None
    point_radius: float = 0.0
    point_capped: bool = False


def alpha_left(alpha: float, num_values: int, sigma: float, grid: float | None) -> float:
    """What the rules may spend: alpha less the charge for noise that was drawn by a computer, see `draw_error`.

    Args:
        alpha: error probability of the certificate or of the answer.
        num_values: how many numbers the planned estimation samples hold.
        sigma: standard deviation of the noise.
        grid: step of the grid, None if there is none.

    Raises:
        ValueError: if nothing is left.
    """
    charge = draw_error(num_values, sigma, grid)
    require(
        "alpha", alpha, f"above {charge:.3g}, the charge for the random bits of {num_values} numbers", alpha > charge
    )
    return alpha - charge


def lower_radius(rule: str, statistics: Statistics, alpha: float) -> float:
    """The radius of a rule at level alpha, of which the draw of the noise was paid; `ABSTAIN` for unusable samples."""
    return RULES[rule](statistics, alpha) if statistics.finite else ABSTAIN


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

    With the statistics of the very samples of the row it equals certifying anew at this alpha, if there was one look
    (with more, certifying anew may stop at other samples); with those of more samples (see `Statistics.merge`) it is
    the certificate of them all.

    Args:
        row: a certificate of the utterance by the wanted rule.
        statistics: of its estimation samples.
        alpha: error probability; by default the row's.

    Raises:
        ValueError: if alpha is not in (0, 1), or so small that the draw of the noise costs all of it.
    """
    alpha = row.alpha if alpha is None else alpha
    require("alpha", alpha, "in (0, 1)", 0.0 < alpha < 1.0)
    left = alpha_left(alpha, row.num_samples * statistics.num_planned, row.sigma, row.grid)
    radius = lower_radius(row.rule, statistics, left)
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
