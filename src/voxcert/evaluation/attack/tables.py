"""From the rows of attacks to a table, one line per attack and budget.

Columns are those of Yao et al. 2022 (SSED, Tables I and II): success rate, SNR and seconds, with what was there before
and what the attack cost whatever the machine.
"""

from collections.abc import Iterable, Sequence
from statistics import fmean
from typing import Any

from voxcert.evaluation.attack.robust_accuracy import robust_accuracy
from voxcert.evaluation.attack.row import AttackRow
from voxcert.evaluation.show.tables import percent, percent_with_interval, render_table, two_decimals
from voxcert.smoothing.curves import wilson_interval

ATTACK_NOTE = (
    "success: share of all utterances about which the system decides as the attack wants (TASR where there are "
    "targets), with its 95 % Wilson interval; before: the same without an attack; of the rest: among those that did "
    "not do so before; abstains: share about which a smoothed system then says nothing, which is no success, except "
    "for who wants to lock speakers out. SNR: mean over all utterances that were changed, and over the successes "
    "among them; forwards, backwards: waveforms that an attack sent through the encoder, and took its gradients for, "
    "per utterance, each noisy copy as one; s: seconds per utterance, those attacked together sharing their time. "
    "failed, where anything did: utterances without a result, which count as no success but show no robustness."
)


def by_budget(rows: Sequence[AttackRow]) -> dict[float | None, list[AttackRow]]:
    """Groups rows by the radius that a whole run over radii was given, in order of appearance; otherwise one group."""
    groups: dict[float | None, list[AttackRow]] = {}
    for row in rows:
        groups.setdefault(row.radius if row.within is None else None, []).append(row)
    return groups


def summarize_attack(rows: Sequence[AttackRow]) -> dict[str, Any]:
    """Summarises the rows of one attack at one budget; failures count as not successful.

    Args:
        rows: At least one.

    Returns:
        `radius`, `within`, `num_utterances`, `num_failed`, `success_rate` with its Wilson interval `low`, `high`,
        `abstention_rate`, `success_rate_before`, `success_rate_of_rest` (None if all succeeded before),
        `accuracy_before`, `accuracy`, `snr_db` and `snr_db_of_successes` (None without any), mean `l2` and `linf`, mean
        `forwards` and `backwards` of the rows that have them (None without any).
    """
    successes, rest = sum(row.success for row in rows), [row for row in rows if not row.success_before]
    low, high = wilson_interval(successes, len(rows))
    measured = [row for row in rows if row.failed is None]
    return {
        "radius": rows[0].radius if rows[0].within is None else None,
        "within": rows[0].within,
        "num_utterances": len(rows),
        "num_failed": len(rows) - len(measured),
        "success_rate": successes / len(rows),
        "low": low,
        "high": high,
        "abstention_rate": sum(row.abstained for row in rows) / len(rows),
        "success_rate_before": sum(row.success_before for row in rows) / len(rows),
        "success_rate_of_rest": _mean(row.success for row in rest),
        "accuracy_before": sum(row.correct_before for row in rows) / len(rows),
        "accuracy": sum(row.correct for row in rows) / len(rows),
        "snr_db": _mean(row.snr_db for row in rows if row.snr_db is not None),
        "snr_db_of_successes": _mean(row.snr_db for row in rows if row.success and row.snr_db is not None),
        "l2": _mean(row.l2 for row in measured),
        "linf": _mean(row.linf for row in measured),
        "forwards": _mean(row.forwards for row in rows if row.forwards is not None),
        "backwards": _mean(row.backwards for row in rows if row.backwards is not None),
    }


def summarize_robustness(rows: Sequence[AttackRow], radii: Sequence[float]) -> list[dict[str, float]]:
    """Empirical robust accuracy at radii, each with its Wilson interval."""
    count = len({row.utterance for row in rows})
    shares = robust_accuracy(rows, radii).tolist()
    intervals = [wilson_interval(round(share * count), count) for share in shares]
    return [
        {"radius": radius, "value": share, "low": low, "high": high}
        for radius, share, (low, high) in zip(radii, shares, intervals, strict=True)
    ]


def attack_table(runs: Iterable[Sequence[AttackRow]]) -> str:
    """Renders runs as a Markdown table that also reads well in a terminal.

    Args:
        runs: Rows of each run.
    """
    return render_table(attack_lines(runs))


def attack_lines(runs: Iterable[Sequence[AttackRow]]) -> list[list[str]]:
    """The heading and the cells of that table, a line for each run and budget."""
    groups = groups_of(runs)
    lines = [
        ["attack", "budget", "scenario", "encoder", "system", "utterances", "before %", "success %", "of the rest %"]
        + ["abstains %", "SNR dB", "SNR dB, successes", "forwards", "backwards", "s"]
    ]
    return with_failures(lines + [_line(group) for group in groups], groups, lines[0].index("utterances"))


def groups_of(runs: Iterable[Sequence[AttackRow]]) -> list[list[AttackRow]]:
    """The rows of each line of a table: one for each run and budget."""
    return [group for rows in runs for group in by_budget(rows).values()]


def with_failures(lines: list[list[str]], groups: Iterable[Sequence[AttackRow]], place: int) -> list[list[str]]:
    """Says behind a column of a table how many of each line's rows have no result, where any has none."""
    counts = [sum(row.failed is not None for row in group) for group in groups]
    if not any(counts):
        return lines
    cells = ["failed", *map(str, counts)]
    return [[*line[: place + 1], cell, *line[place + 1 :]] for line, cell in zip(lines, cells, strict=True)]


def smoothing_name(row: AttackRow) -> str:
    """How the system that a row is about is smoothed."""
    return "not smoothed" if row.sigma is None else f"smoothed {row.sigma:g} ({row.decision})"


def _line(rows: Sequence[AttackRow]) -> list[str]:
    entry, first = summarize_attack(rows), rows[0]
    direction = "targeted" if first.target is not None else "untargeted"
    return [
        f"{first.attack}, {direction}" + ("" if first.start == "utterance" else f", from {first.start} noise"),
        budget_name(first),
        first.scenario,
        first.encoder[:8],
        smoothing_name(first),
        str(len(rows)),
        percent(entry["success_rate_before"]),
        percent_with_interval(entry["success_rate"], entry["low"], entry["high"]),
        percent(entry["success_rate_of_rest"]),
        percent(entry["abstention_rate"]) if first.sigma is not None and first.scenario != "osi" else "-",
        two_decimals(entry["snr_db"]),
        two_decimals(entry["snr_db_of_successes"]),
        _count(entry["forwards"]),
        _count(entry["backwards"]),
        f"{fmean(row.seconds for row in rows):.3g}",
    ]


def budget_name(row: AttackRow) -> str:
    """The budget of an attack, for a table."""
    if row.within is not None:
        return f"{row.within:g} of the certified radius"
    epsilon, norm = row.attack_settings.get("epsilon"), row.attack_settings.get("norm", "")
    return f"{epsilon:g} {norm}".strip() if isinstance(epsilon, int | float) else "-"


def _count(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}".removesuffix(".0")


def _mean(values: Iterable[float]) -> float | None:
    values = list(values)
    return fmean(values) if values else None
