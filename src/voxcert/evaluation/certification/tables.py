"""From certificates to a table and to one sentence that says what was proved.

Certified accuracy and ACR are those of `voxcert.smoothing.curves`: abstentions and failures stay in the denominator.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from voxcert.columns import Columns
from voxcert.data.audio import SAMPLE_RATE
from voxcert.evaluation.metrics.detection import speaker_interval_of_share
from voxcert.evaluation.show.tables import ceiled, certified_share, render_table, rounded_down, shown_radius
from voxcert.smoothing.certificate import Certificate
from voxcert.smoothing.certified_score import CertifiedScore
from voxcert.smoothing.curves import (
    abstention_rate,
    average_certified_radius,
    certified,
    certified_accuracy,
    certified_radii,
    correct,
    smoothed_accuracy,
    wilson_interval,
)


def is_guarantee(rule: str) -> bool:
    """Whether a rule is a proof; the published formulas are there for comparison."""
    return not rule.startswith("published_")


def rule_name(rule: str) -> str:
    """The rule, and what a published one is not, wherever it is shown."""
    return rule if is_guarantee(rule) else f"{rule} (not a guarantee)"


def by_rule(rows: Sequence[Certificate]) -> dict[str, Columns[Certificate]]:
    """Groups rows by rule, in order of appearance."""
    rows = Columns.of(Certificate, rows)
    rules = rows.column("rule")
    return {rule: rows.take(np.flatnonzero(rules == rule)) for rule in dict.fromkeys(rules)}


def default_radii(sigma: float) -> list[float]:
    """Radii of a table when none are given: 0, 0.5, 1, 1.5 and 2 sigma."""
    return [sigma * factor for factor in (0.0, 0.5, 1.0, 1.5, 2.0)]


def summarize(rows: Sequence[Certificate], radii: Sequence[float]) -> dict[str, dict[str, Any]]:
    """Summarises certificates, one entry per rule.

    Args:
        rows: Certificates of any number of rules.
        radii: Where certified accuracy is taken; l2 norm, waveform amplitude.

    Returns:
        For each rule: `guarantee`, `smoothed_accuracy` (certified or not), `abstention_rate`, `abstained` (reason ->
        count), `acr`, `acr_plug_in` (of the plug-in estimates, which n samples cap: no guarantee), `num_capped` (how
        many of these were capped) and `certified_accuracy`, a list of `radius`, `value`, the 95 % Wilson interval
        `low`, `high` and the one over speakers, `low_speakers`, `high_speakers` (None with fewer than two).
    """
    return {rule: _summarize_rule(rule, own, radii) for rule, own in by_rule(rows).items()}


def _summarize_rule(rule: str, rows: Columns[Certificate], radii: Sequence[float]) -> dict[str, Any]:
    shares = certified_accuracy(rows, radii).tolist()
    reasons = Counter(reason for reason in rows.column("abstained") if reason is not None)
    is_correct = correct(rows)
    return {
        "guarantee": is_guarantee(rule),
        "smoothed_accuracy": smoothed_accuracy(rows),
        "abstention_rate": abstention_rate(rows),
        "abstained": dict(sorted(reasons.items())),
        "acr": average_certified_radius(rows),
        "acr_plug_in": sum(rows.column("point_radius")[is_correct].tolist()) / len(rows),
        "num_capped": int(rows.column("point_capped")[is_correct].sum()),
        "certified_accuracy": [_point(rows, radius, share) for radius, share in zip(radii, shares, strict=True)],
    }


def _point(rows: Columns[Certificate], radius: float, share: float) -> dict[str, Any]:
    """Certified accuracy at a radius, and how sure it is if utterances are independent, or if speakers alone are."""
    low, high = wilson_interval(round(share * len(rows)), len(rows))
    speakers = speaker_interval_of_share(certified(rows, radius), rows.column("speaker"))
    low_speakers, high_speakers = (None if np.isnan(bound) else bound for bound in speakers)
    over_speakers = {"low_speakers": low_speakers, "high_speakers": high_speakers}
    return {"radius": radius, "value": share, "low": low, "high": high, **over_speakers}


def markdown_table(rules: dict[str, dict[str, Any]]) -> str:
    """Renders a summary as a Markdown table that also reads well in a terminal.

    Args:
        rules: What `summarize` returns.
    """
    return render_table(table_lines(rules))


def table_lines(rules: dict[str, dict[str, Any]]) -> list[list[str]]:
    """The heading and the cells of that table, a line for each rule."""
    radii = [point["radius"] for point in next(iter(rules.values()))["certified_accuracy"]]
    lines = [["rule", "smoothed accuracy", "abstained", *accuracy_headings(radii), "ACR", "ACR, plug-in"]]
    for rule, entry in rules.items():
        points = entry["certified_accuracy"]
        lines.append(
            [
                rule_name(rule),
                f"{entry['smoothed_accuracy']:.3f}",
                f"{entry['abstention_rate']:.3f}",
                *(certified_share(point["value"], point["low"], point["high"]) for point in points),
                rounded_down(entry["acr"]),
                f"{'> ' if entry['num_capped'] else ''}{rounded_down(entry['acr_plug_in'])}",
            ]
        )
    return lines


def accuracy_headings(radii: Sequence[float]) -> list[str]:
    """How the columns of certified accuracy at radii are called, in every table."""
    return [f"CA at {shown_radius(radius)}" for radius in radii]


TABLE_NOTE = (
    "CA at r: share of all utterances with the right speaker and a radius above r (l2 norm of the perturbation, "
    "waveform in [-1, 1]; where noise enters later, of what it is added to), with its 95 % Wilson interval "
    "(utterances taken as independent). ACR: mean radius, wrong and abstained ones counting 0. CA and radii are "
    "rounded down and intervals outward, to say no more than is proved. ACR, plug-in: of the sample shares taken for "
    "the true ones, no guarantee; > marks a mean over estimates some of which are capped, since no more can be seen in "
    "so many samples."
)


def statement(rows: Sequence[Certificate], planned: int | None = None) -> str:
    """Says in one sentence what the rows prove by the first sound rule.

    The first and not the best: a rule that was chosen after seeing the radii would have spent more than one alpha.

    Args:
        rows: Certificates of one run: one sigma and one alpha.
        planned: Utterances that the run is about; None where these are all.
    """
    rows = Columns.of(Certificate, rows)
    rule, own = next(((rule, own) for rule, own in by_rule(rows).items() if is_guarantee(rule)), ("", []))
    if not own:
        return "Nothing was proved: the published rules are not a guarantee."
    done = f"{len(own)} utterances" if unfinished(rows, planned) is None else f"the {len(own)} utterances done so far"
    radii = certified_radii(own)
    order = np.argsort(radii, kind="stable")
    proved = order[radii[order] >= 0]
    if not len(proved):
        return f"Nothing was proved by the rule {rule}: none of {done} is certified for its speaker."
    middle = own[proved[(len(proved) - 1) // 2]]  # at least half of the radii are no smaller
    classifier = "vote" if rule == "vote" else "embedding"
    inside = " (purifier and encoder together)" if "+" in middle.encoder else ""
    loudness = ""
    if middle.noise_at == "waveform":
        loudness = f" ({ceiled(middle.snr_db, 1)} dB below that utterance)" if middle.snr_db is not None else ""
        heard = f"the {middle.num_samples / SAMPLE_RATE:g} s of waveform that it hears"
    else:
        heard = f"the {middle.num_samples} numbers of the utterance's {middle.noise_at} (not to its waveform)"
    return (
        f"Proved for {len(proved)} of {done}: the {classifier} classifier{inside} smoothed with sigma "
        f"{middle.sigma:g} names the right speaker, and goes on naming that speaker whatever is added to "
        f"{heard}, as long as its l2 norm is below the utterance's radius (rule {rule}; at least half of these radii "
        f"are {rounded_down(middle.radius)}{loudness} or more). "
        f"Each of the {len(own)} certificates was to fail with a probability of at most {middle.alpha:g}."
    )


def unfinished(rows: Columns[Certificate] | Columns[CertifiedScore], planned: int | None) -> str | None:
    """How far a run has come, such as "30 of 120 utterances"; None where it is finished."""
    done = 0 if planned is None else len(set(rows.column("utterance")))
    return None if planned is None or done >= planned else f"{done} of {planned} utterances"
