"""From certificates to a table and to one sentence that says what was proved.

Certified accuracy and ACR are those of `voxcert.smoothing.curves`: abstentions and failures stay in the denominator.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from voxcert.data.audio import SAMPLE_RATE
from voxcert.evaluation.show.tables import render_table
from voxcert.smoothing.certificate import Certificate
from voxcert.smoothing.curves import (
    abstention_rate,
    average_certified_radius,
    certified_accuracy,
    smoothed_accuracy,
    wilson_interval,
)


def is_guarantee(rule: str) -> bool:
    """Whether a rule is a proof; the published formulas are there for comparison."""
    return not rule.startswith("published_")


def by_rule(rows: Sequence[Certificate]) -> dict[str, list[Certificate]]:
    """Groups rows by rule, in order of appearance."""
    groups: dict[str, list[Certificate]] = {}
    for row in rows:
        groups.setdefault(row.rule, []).append(row)
    return groups


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
        count), `acr`, `acr_point` (of the plug-in estimates: what infinitely many samples would give, no guarantee) and
        `certified_accuracy`, a list of `radius`, `value` and the 95 % Wilson interval `low`, `high`.
    """
    return {rule: _summarize_rule(rule, own, radii) for rule, own in by_rule(rows).items()}


def _summarize_rule(rule: str, rows: list[Certificate], radii: Sequence[float]) -> dict[str, Any]:
    shares = certified_accuracy(rows, radii).tolist()
    intervals = [wilson_interval(round(share * len(rows)), len(rows)) for share in shares]
    return {
        "guarantee": is_guarantee(rule),
        "smoothed_accuracy": smoothed_accuracy(rows),
        "abstention_rate": abstention_rate(rows),
        "abstained": dict(sorted(Counter(row.abstained for row in rows if row.abstained is not None).items())),
        "acr": average_certified_radius(rows),
        "acr_point": sum(max(row.point_radius, 0.0) for row in rows if row.correct) / len(rows),
        "certified_accuracy": [
            {"radius": radius, "value": share, "low": low, "high": high}
            for radius, share, (low, high) in zip(radii, shares, intervals, strict=True)
        ],
    }


def markdown_table(rules: dict[str, dict[str, Any]]) -> str:
    """Renders a summary as a Markdown table that also reads well in a terminal.

    Args:
        rules: What `summarize` returns.
    """
    radii = [point["radius"] for point in next(iter(rules.values()))["certified_accuracy"]]
    lines = [
        ["rule", "smoothed accuracy", "abstained", *(f"CA at {radius:.3g}" for radius in radii), "ACR", "ACR, n → ∞"]
    ]
    for rule, entry in rules.items():
        points = entry["certified_accuracy"]
        lines.append(
            [
                rule if entry["guarantee"] else f"{rule} (not a guarantee)",
                f"{entry['smoothed_accuracy']:.3f}",
                f"{entry['abstention_rate']:.3f}",
                *(f"{point['value']:.2f} [{point['low']:.2f}, {point['high']:.2f}]" for point in points),
                f"{entry['acr']:.3g}",
                f"{entry['acr_point']:.3g}",
            ]
        )
    return render_table(lines)


TABLE_NOTE = (
    "CA at r: share of all utterances with the right speaker and a radius above r (l2 norm of the perturbation, "
    "waveform in [-1, 1]), with its 95 % Wilson interval. ACR: mean radius, wrong and abstained ones counting 0. "
    "n → ∞: plug-in estimate, no guarantee."
)


def statement(rows: Sequence[Certificate]) -> str:
    """Says in one sentence what the rows prove by the first sound rule.

    The first and not the best: a rule that was chosen after seeing the radii would have spent more than one alpha.

    Args:
        rows: Certificates of one run: one sigma and one alpha.
    """
    rule, own = next(((rule, own) for rule, own in by_rule(rows).items() if is_guarantee(rule)), ("", []))
    if not own:
        return "Nothing was proved: the published rules are not a guarantee."
    proved = sorted((row for row in own if row.correct and row.abstained is None), key=lambda row: row.radius)
    if not proved:
        return f"Nothing was proved by the rule {rule}: none of {len(own)} utterances is certified for its speaker."
    middle = proved[(len(proved) - 1) // 2]  # at least half of the radii are no smaller
    classifier = "vote" if rule == "vote" else "embedding"
    inside = " (purifier and encoder together)" if "+" in middle.encoder else ""
    loudness = f" ({middle.snr_db:.1f} dB below that utterance)" if middle.snr_db is not None else ""
    if middle.noise_at == "waveform":
        heard = f"the {middle.num_samples / SAMPLE_RATE:g} s of waveform that it hears"
    else:
        heard = f"the {middle.num_samples} numbers of the utterance's {middle.noise_at} (not to its waveform)"
    return (
        f"Proved for {len(proved)} of {len(own)} utterances: the {classifier} classifier{inside} smoothed with sigma "
        f"{middle.sigma:g} names the right speaker, and goes on naming that speaker whatever is added to "
        f"{heard}, as long as its l2 norm is below the utterance's radius (rule {rule}; at least half of these radii "
        f"are {middle.radius:.3g}{loudness} or more). "
        f"Each of the {len(own)} certificates was to fail with a probability of at most {middle.alpha:g}."
    )
