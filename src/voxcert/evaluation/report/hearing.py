"""How far a certificate is from what can be heard: rows that an audit wrote beside its runs, if it did."""

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from voxcert.evaluation.report.tables import Table

HEARING = "hearing.jsonl"
"""Rows with `utterance` and `margin_db`, in the folder of the page or beside its runs."""


def read_hearing(folders: Sequence[Path]) -> list[dict[str, Any]]:
    """Rows of the first of the folders that has some; none where there are none.

    Raises:
        ValueError: If a line holds no such row.
    """
    path = next((folder / HEARING for folder in folders if (folder / HEARING).is_file()), None)
    if path is None:
        return []
    rows = []
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        try:
            row = json.loads(line)
            rows.append(row | {"margin_db": None if row["margin_db"] is None else float(row["margin_db"])})
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path}, line {number}: no hearing margin ({error})") from error
    return rows


def hearing_table(rows: Sequence[dict[str, Any]]) -> Table:
    """The margins of all utterances, a line for each sigma and rule that they are told apart by."""
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(tuple(str(row[name]) for name in ("sigma", "rule") if name in row), []).append(row)
    names = [name for name in ("sigma", "rule") if name in rows[0]]
    lines = [
        [
            *names,
            "utterances",
            "with a margin",
            "covered down to 0 dB",
            "smallest g, dB",
            "median g, dB",
            "largest g, dB",
        ]
    ]
    for key, own in groups.items():
        margins = sorted(row["margin_db"] for row in own if row["margin_db"] is not None)
        shown = [f"{value:.1f}" for value in (margins[0], median(margins), margins[-1])] if margins else ["-"] * 3
        audible = sum(margin <= 0 for margin in margins)
        lines.append([*key, str(len(own)), str(len(margins)), str(audible), *shown])
    note = (
        "Margin g: every perturbation that stays g dB under the masking threshold of the utterance everywhere is "
        "covered by its certificate. Only g <= 0 would mean that everything inaudible is covered."
    )
    return Table("hearing", "Certified hearing margin", lines, note)
