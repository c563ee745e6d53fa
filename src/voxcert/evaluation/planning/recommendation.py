"""From a pilot to estimates for every sigma and number of samples, and to what fits into the time at hand."""

from collections.abc import Callable, Sequence
from statistics import fmean
from typing import Any

from voxcert.evaluation.planning.row import PilotRow
from voxcert.evaluation.planning.settings import PlanSettings
from voxcert.smoothing.embedder import filled

ENOUGH = 0.9
"""Share of the mean radius with most samples at which more samples are said not to be needed."""
FEWEST_SAMPLES = 256
"""With less than this for every utterance, fewer utterances are certified instead."""
FEWEST_UTTERANCES = 4

Work = Callable[[int, int, int], int]
"""Forwards for one utterance, from the number of sigmas, of samples at each, and of rows in a batch."""


def estimates(rows: Sequence[PilotRow], settings: PlanSettings, measured: dict[str, Any]) -> list[dict[str, Any]]:
    """What is to be expected at every sigma, by every rule, with every number of samples.

    Args:
        rows: Of the pilot, those that could be heard.
        settings: Of the pilot.
        measured: `num_utterances` to certify, `seconds_per_forward` and `batch_size`, to which batches are filled up.

    Returns:
        Entries with `sigma`, `rule`, `num_estimate`, `accuracy` (share of the pilot named rightly), `acr` (mean radius,
        l2), `certified_accuracy` (a list of `radius` and `value`), `minutes` for all utterances, `enough`: whether more
        samples would hardly give larger radii, and `surely`: whether that is so even if copies that all agreed in the
        pilot always do, so that it does not follow from how few there were.
    """
    found = []
    for sigma in settings.sigmas:
        for rule in dict.fromkeys(row.rule for row in rows):
            own = [row for row in rows if (row.sigma, row.rule) == (sigma, rule)]
            hoped = [row.hoped or row.radii for row in own]
            most, best = fmean(row.radii[-1] for row in own), fmean(radii[-1] for radii in hoped)
            for place, n in enumerate(settings.samples):
                radii = [row.radii[place] for row in own]
                enough = fmean(radii) >= ENOUGH * most
                found.append(
                    {
                        "sigma": sigma,
                        "rule": rule,
                        "num_estimate": n,
                        "accuracy": fmean(row.correct for row in own),
                        "acr": fmean(radii),
                        "certified_accuracy": [
                            {"radius": budget, "value": fmean(radius > budget for radius in radii)}
                            for budget in settings.budgets
                        ],
                        "minutes": measured["num_utterances"] * _minutes(_rows(settings, n, measured), measured),
                        "enough": enough,
                        "surely": enough and fmean(radii[place] for radii in hoped) >= ENOUGH * best,
                    }
                )
    return found


def recommend(
    found: Sequence[dict[str, Any]], settings: PlanSettings, measured: dict[str, Any], work: Work | None = None
) -> dict[str, Any]:
    """Which sigmas to certify with how many samples, so that all of it fits into `settings.minutes`.

    A sigma is kept if none certifies more at one of the budgets, or a larger mean radius. All kept sigmas get the same
    number of samples: the largest that fits, but none that is surely hardly needed. Where even `FEWEST_SAMPLES` do not
    fit, fewer utterances are certified.

    Args:
        found: As `estimates` makes it.
        settings: Of the pilot.
        measured: As for `estimates`.
        work: What is to be done about an utterance; None certifies it at every sigma.

    Returns:
        `sigmas`, `num_estimate`, `num_utterances`, `minutes` (of all of it), `fits`, and `hopeless`: whether nothing is
        expected to be certified at all.
    """
    sigmas = _worthwhile(found, settings)
    hopeless = not sigmas
    sigmas = sigmas or settings.sigmas[:1]
    needed = max(_needed(found, sigma) for sigma in sigmas)
    everyone = measured["num_utterances"]

    def total(utterances: int, n: int) -> float:
        if work is None:
            return utterances * _minutes(len(sigmas) * _rows(settings, n, measured), measured)
        return utterances * _minutes(work(len(sigmas), n, measured["batch_size"]), measured)

    useful = [n for n in settings.samples if n <= needed]
    affordable = [n for n in useful if total(everyone, n) <= settings.minutes]
    least = max((n for n in useful if n <= FEWEST_SAMPLES), default=useful[0])
    if affordable and affordable[-1] >= least:
        n, utterances = affordable[-1], everyone
    else:
        n, one = least, total(1, least)
        utterances = min(everyone, max(FEWEST_UTTERANCES, int(settings.minutes / one)))
    minutes = total(utterances, n)
    return {
        "sigmas": sigmas,
        "num_estimate": n,
        "num_utterances": utterances,
        "minutes": minutes,
        "fits": minutes <= settings.minutes,
        "hopeless": hopeless,
    }


def _rows(settings: PlanSettings, n: int, measured: dict[str, Any]) -> int:
    """Rows that the encoder computes to certify an utterance with n samples."""
    return sum(filled(samples, measured["batch_size"]) for samples in (settings.num_select, n))


def _minutes(forwards: int, measured: dict[str, Any]) -> float:
    return forwards * measured["seconds_per_forward"] / 60


def _worthwhile(found: Sequence[dict[str, Any]], settings: PlanSettings) -> list[float]:
    """Sigmas that are the best at something, by any rule, with most samples; of equals the smallest."""
    last = [entry for entry in found if entry["num_estimate"] == settings.samples[-1]]
    goals = [[entry["acr"] for entry in last]]
    goals += [[entry["certified_accuracy"][place]["value"] for entry in last] for place in range(len(settings.budgets))]
    best = {last[values.index(max(values))]["sigma"] for values in goals if max(values) > 0}
    return [sigma for sigma in settings.sigmas if sigma in best]


def _needed(found: Sequence[dict[str, Any]], sigma: float) -> int:
    """The number of samples from which on none of the rules can gain much by more."""
    own = [entry for entry in found if entry["sigma"] == sigma]
    rules = {entry["rule"] for entry in own}
    return max(min(e["num_estimate"] for e in own if e["rule"] == rule and e["surely"]) for rule in rules)
