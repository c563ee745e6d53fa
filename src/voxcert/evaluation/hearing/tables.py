"""How hearing margins are spread over the utterances of a run, and what that means in words."""

import math
from collections.abc import Sequence
from typing import Any

from voxcert.evaluation.certification.tables import is_guarantee, rule_name
from voxcert.evaluation.hearing.row import HearingRow
from voxcert.evaluation.show.tables import ceiled, render_table

SHARES = (0.25, 0.5, 0.75)
"""Shares of all utterances whose margin is told."""


def summarize_hearing(rows: Sequence[HearingRow]) -> dict[str, dict[str, Any]]:
    """Summarises the margins of one run, one entry per rule.

    Args:
        rows: Of any number of rules.

    Returns:
        For each rule: `guarantee`, `sigma`, `num_utterances`, `num_certified` (with a radius and a threshold),
        `num_all_hidden` (margin at most 0), `smallest`, and `margins`, a list with, for each of `SHARES`, the g in dB
        that so many of all utterances do not exceed; None where fewer are certified.
    """
    summary: dict[str, dict[str, Any]] = {}
    for rule in dict.fromkeys(row.rule for row in rows):
        own = [row for row in rows if row.rule == rule]
        margins = sorted(margin for row in own if (margin := row.margin_db) is not None)
        places = [max(1, math.ceil(share * len(own))) for share in SHARES]
        summary[rule] = {
            "guarantee": is_guarantee(rule),
            "sigma": own[0].sigma,
            "num_utterances": len(own),
            "num_certified": len(margins),
            "num_all_hidden": sum(margin <= 0 for margin in margins),
            "smallest": margins[0] if margins else None,
            "margins": [margins[place - 1] if place <= len(margins) else None for place in places],
        }
    return summary


def hearing_table(rules: dict[str, dict[str, Any]]) -> str:
    """Renders what `summarize_hearing` returns as a Markdown table."""
    return render_table(hearing_lines(rules))


def hearing_lines(rules: dict[str, dict[str, Any]]) -> list[list[str]]:
    """Heading and rows of the table of what `summarize_hearing` returns."""
    heading = ["rule", "sigma", "certified", "smallest g", *(f"g of {share:.0%}" for share in SHARES)]
    lines = [heading]
    for rule, entry in rules.items():
        certified = f"{entry['num_certified']} of {entry['num_utterances']}"
        told = ["-" if margin is None else ceiled(margin, 1) for margin in (entry["smallest"], *entry["margins"])]
        lines.append([rule_name(rule), f"{entry['sigma']:g}", certified, *told])
    return lines


HEARING_NOTE = (
    "g, in dB: every perturbation that stays more than g below the masking threshold of the utterance, at all times "
    "and frequencies (below 20 Hz, where there is none, that of the lowest bin that is heard), is within the certified "
    "radius. g of 50%: of half of all utterances, at most; - where fewer are "
    "certified for their speaker. Rounded up. The threshold is a model of hearing, with the loudest sound played at 96 "
    "dB; g <= 0 would mean that all that it hides is covered. What is not covered need not be an attack that works."
)


def hearing_statement(rules: dict[str, dict[str, Any]]) -> str:
    """Says in a sentence what the margins of the first sound rule mean."""
    rule, entry = next(((rule, entry) for rule, entry in rules.items() if entry["guarantee"]), ("", None))
    if entry is None or entry["smallest"] is None:
        return "No perturbation is covered: nothing was certified."
    return (
        f"By the rule {rule}, all that the masking threshold hides is covered for {entry['num_all_hidden']} of "
        f"{entry['num_utterances']} utterances, and what stays more than {ceiled(entry['smallest'], 1)} dB below the "
        "masking threshold for the best of them."
    )
