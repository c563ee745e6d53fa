"""How far below the threshold of hearing certificates cover everything, where `voxcert hearing` measured it."""

from collections.abc import Sequence
from pathlib import Path

from voxcert.evaluation.hearing.job import read_hearing
from voxcert.evaluation.hearing.row import HearingRow
from voxcert.evaluation.hearing.tables import HEARING_NOTE, hearing_lines, summarize_hearing
from voxcert.evaluation.report.tables import Table


def measured_margins(folders: Sequence[Path]) -> list[Sequence[HearingRow]]:
    """The margins of each run that has some."""
    return [rows for folder in dict.fromkeys(folders) if (rows := read_hearing(folder))]


def margins_table(runs: Sequence[Sequence[HearingRow]]) -> Table:
    """The margins of runs, a line for each rule of each.

    Args:
        runs: At least one.
    """
    heading, *_ = hearing_lines({})
    lines = [line for rows in runs for line in hearing_lines(summarize_hearing(rows))[1:]]
    return Table("hearing", "Certified hearing margin", [heading, *lines], HEARING_NOTE)
