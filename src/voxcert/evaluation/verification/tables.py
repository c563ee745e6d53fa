"""From certified scores to error rates that hold under every attack up to a radius, with intervals over speakers.

A genuine trial is an error at a threshold unless its lower bound reaches it, an impostor trial unless its upper bound
stays below: the attacker may do whatever he likes to every trial at once.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from voxcert.evaluation.metrics.detection import (
    crossing_error_rate,
    equal_error_rate,
    minimum_detection_cost,
    rate_over_speakers,
    speaker_interval_of_share,
)
from voxcert.evaluation.show.tables import ceiled, certified_percent_with_interval, percent, render_table, rounded_down
from voxcert.smoothing.certified_score import CertifiedScore

RATES = "eer", "frr", "far"


def by_verifier(rows: Sequence[CertifiedScore]) -> dict[str, list[CertifiedScore]]:
    """Groups rows by verifier, in order of appearance."""
    groups: dict[str, list[CertifiedScore]] = {}
    for row in rows:
        groups.setdefault(row.verifier, []).append(row)
    return groups


def bounds_at(rows: Sequence[CertifiedScore], index: int | None) -> tuple[np.ndarray, np.ndarray]:
    """What the error of each trial depends on at a radius, shape (trials,), and which trials are genuine.

    Args:
        rows: Of one verifier.
        index: Of the radius; None for the scores as sampled, without an attack and without a proof.
    """
    values = [row.sampled() if index is None else row.bound(index) for row in rows]
    return np.array(values), np.array([row.target for row in rows])


def summarize_trials(rows: Sequence[CertifiedScore], threshold: float | None = None) -> dict[str, dict[str, Any]]:
    """Summarises the trials of a run, one entry per verifier.

    Args:
        rows: Of any number of verifiers.
        threshold: Where false rejections and acceptances are taken, of normalised scores if they are normalised; where
            those of the sampled scores are equal when None.

    Returns:
        For each verifier: `num_genuine`, `num_impostor`, `num_speakers`, `smoothed_eer` (of the scores as sampled: no
        guarantee), `threshold` and `rates`, a list with, for each radius: `radius`, `eer` and its 95 % interval over
        speakers `eer_low` and `eer_high`, `frr` and `far` at the threshold with theirs, and `min_dcf`.
    """
    return {verifier: _summarize(own, threshold) for verifier, own in by_verifier(rows).items()}


def _summarize(rows: Sequence[CertifiedScore], threshold: float | None) -> dict[str, Any]:
    sampled, genuine = bounds_at(rows, None)
    smoothed = crossing_error_rate(sampled[genuine], sampled[~genuine])
    if threshold is None:
        threshold = round(equal_error_rate(sampled[genuine], sampled[~genuine])[1], 4)  # as it is printed
    speakers = [row.speaker for row in rows]
    rates = []
    for index, radius in enumerate(rows[0].radii):
        bounds, _ = bounds_at(rows, index)
        wrong = {"frr": (bounds < threshold)[genuine], "far": (bounds >= threshold)[~genuine]}
        eer, low, high = rate_over_speakers(crossing_error_rate, bounds, genuine, speakers)
        entry = {"radius": radius, "eer": eer, "eer_low": low, "eer_high": high}
        entry |= {name: float(errors.mean()) for name, errors in wrong.items()}
        entry["min_dcf"] = minimum_detection_cost(bounds[genuine], bounds[~genuine])
        for name, mask in (("frr", genuine), ("far", ~genuine)):
            own = [speaker for speaker, kept in zip(speakers, mask, strict=True) if kept]
            low, high = speaker_interval_of_share(wrong[name], own)
            entry |= {f"{name}_low": low, f"{name}_high": high}
        rates.append({key: None if value != value else value for key, value in entry.items()})
    return {
        "num_genuine": int(genuine.sum()),
        "num_impostor": int((~genuine).sum()),
        "num_speakers": len(set(speakers)),
        "smoothed_eer": smoothed,
        "threshold": threshold,
        "rates": rates,
    }


def trials_table(verifiers: dict[str, dict[str, Any]]) -> str:
    """Renders a summary as a Markdown table that also reads well in a terminal.

    Args:
        verifiers: What `summarize_trials` returns.
    """
    return render_table(trials_lines(verifiers))


def trials_lines(verifiers: dict[str, dict[str, Any]]) -> list[list[str]]:
    """The heading and the cells of that table, a line for each verifier and radius."""
    lines = [["verifier", "radius", "certified EER %", "FRR %", "FAR %", "minDCF"]]
    for verifier, entry in verifiers.items():
        sampled = f"no attack, as sampled; threshold {entry['threshold']}"
        lines.append([verifier, sampled, percent(entry["smoothed_eer"]), "", "", ""])
        for rate in entry["rates"]:
            lines.append([verifier, rounded_down(rate["radius"], 6), *rate_cells(rate), ceiled(rate["min_dcf"], 3)])
    return lines


def rate_cells(rate: dict[str, Any]) -> list[str]:
    """The certified EER, FRR and FAR at one radius of a summary, each with its interval."""
    return [certified_percent_with_interval(rate[name], rate[f"{name}_low"], rate[f"{name}_high"]) for name in RATES]


TRIALS_NOTE = (
    "Certified rates at r: no attack of l2 norm up to r (of what is added where the noise is added) on any or all of "
    "the trials can raise them, each trial's bound at each radius failing with probability at most alpha. At the "
    "threshold in a verifier's first line (each has its own unless one is given), FRR: share of genuine trials not "
    "proved to stay accepted (in an open set, for their speaker); FAR: share of impostor trials not proved to stay "
    "rejected. EER: the smallest rate that neither exceeds at some threshold. In brackets the 95 % interval over "
    "speakers (bootstrap; of fewer than 20 speakers and of rates of 0 or 100 %, Wilson's with each speaker as one "
    "trial). minDCF: prior 0.01, both errors cost 1. Certified rates and minDCF are rounded up and intervals outward, "
    "to say no more than is proved."
)


def trials_statement(verifiers: dict[str, dict[str, Any]], rows: Sequence[CertifiedScore], given: bool) -> str:
    """Says in one sentence what is proved by the first verifier at the largest radius with an error rate below 1/2.

    Args:
        verifiers: What `summarize_trials` returns.
        rows: Of the run.
        given: Whether the threshold was given, and not taken from these very trials.
    """
    verifier, entry = next(iter(verifiers.items()))
    useful = [rate for rate in entry["rates"] if rate["frr"] < 0.5 and rate["far"] < 0.5]
    if not useful:
        return (
            f"Nothing useful was proved by the verifier {verifier}: for half of the trials or more there is no proof."
        )
    rate, first = useful[-1], rows[0]
    rejected, accepted = round(rate["frr"] * entry["num_genuine"]), round(rate["far"] * entry["num_impostor"])
    is_normalised = any((row.norm_mean, row.norm_deviation) != (0.0, 1.0) for row in rows)
    chosen = " of scores normalised by a cohort" if is_normalised else ""
    chosen += "" if given else ", which was taken from these very trials,"
    if first.noise_at == "waveform":
        heard = "the waveforms that it hears"
    else:
        heard = f"the {first.noise_at} of the recordings (not to their waveforms)"
    inside = " (purifier and encoder together)" if "+" in first.encoder else ""
    wrongly = "rejected or taken for another speaker" if first.open_set else "rejected"
    return (
        f"Proved at the threshold {entry['threshold']}{chosen} for the {verifier} verifier{inside} smoothed with "
        f"sigma {first.sigma:g}: whatever is added to {heard}, as long as its l2 norm is at most "
        f"{rounded_down(rate['radius'], 6)}, at most {rejected} of {entry['num_genuine']} genuine trials are {wrongly} "
        f"and at most {accepted} of {entry['num_impostor']} impostor trials are accepted. The bound of each trial at "
        f"each radius was to fail with a probability of at most {first.alpha:g}."
    )
