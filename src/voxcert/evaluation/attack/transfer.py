"""From the rows of attacks on claims to a table: how near they come to the target, and whether another encoder agrees.

What transfers is of the voice rather than of the attacked encoder; an attacker without a budget tells the two apart.
"""

from collections.abc import Iterable, Sequence
from statistics import fmean
from typing import Any

from voxcert.evaluation.attack.row import AttackRow
from voxcert.evaluation.attack.tables import budget_name, groups_of, smoothing_name, summarize_attack, with_failures
from voxcert.evaluation.show.tables import percent, percent_with_interval, render_table, two_decimals
from voxcert.smoothing.curves import wilson_interval

TRANSFER_NOTE = (
    "accepted: share of the claims that the attacked system accepts, with its 95 % Wilson interval. judge accepts: "
    "the same of an encoder that the attack did not see, at the threshold of its own equal error rate. score: mean of "
    "the claims after the attack, cosines; of a smoothed system over noise that the attack did not see. l2: mean norm "
    "of what was changed."
)


def summarize_transfer(rows: Sequence[AttackRow]) -> dict[str, Any]:
    """Summarises what a judge heard in the results of one attack at one budget; failures count as not accepted.

    Args:
        rows: Of attacks on claims that were judged, at least one.

    Returns:
        `accepted_before`, `accepted` with its Wilson interval `low`, `high`, mean `score_before` and `score` (None
        where all failed).
    """
    heard = [row for row in rows if row.judge_score is not None]
    accepted = sum(row.judge_score >= row.judge_threshold for row in heard)
    low, high = wilson_interval(accepted, len(rows))
    return {
        "accepted_before": sum(row.judge_before >= row.judge_threshold for row in heard) / len(rows),
        "accepted": accepted / len(rows),
        "low": low,
        "high": high,
        "score_before": fmean(row.judge_before for row in heard) if heard else None,
        "score": fmean(row.judge_score for row in heard) if heard else None,
    }


def transfer_table(runs: Iterable[Sequence[AttackRow]]) -> str:
    """Renders judged runs as a Markdown table that also reads well in a terminal, a line for each run and budget."""
    lines = [["start", "budget", "encoder", "system", "claims", "accepted before %", "after %", "score", "l2"]]
    lines[0] += ["judge accepts before %", "after %", "its score before", "after"]
    groups = groups_of(runs)
    return render_table(with_failures(lines + [_line(group) for group in groups], groups, lines[0].index("claims")))


def _line(rows: Sequence[AttackRow]) -> list[str]:
    entry, heard, first = summarize_attack(rows), summarize_transfer(rows), rows[0]
    scores = [row.score for row in rows if row.score is not None]
    return [
        first.start if first.start == "utterance" else f"{first.start} noise",
        budget_name(first),
        first.encoder[:8],
        smoothing_name(first),
        str(len(rows)),
        percent(entry["success_rate_before"]),
        percent_with_interval(entry["success_rate"], entry["low"], entry["high"]),
        two_decimals(fmean(scores) if scores else None),
        two_decimals(entry["l2"]),
        percent(heard["accepted_before"]),
        percent_with_interval(heard["accepted"], heard["low"], heard["high"]),
        two_decimals(heard["score_before"]),
        two_decimals(heard["score"]),
    ]
