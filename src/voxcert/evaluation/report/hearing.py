"""How far below the threshold of hearing certificates cover everything, where `voxcert hearing` measured it."""

from collections.abc import Mapping, Sequence

from voxcert.evaluation.hearing.job import read_hearing
from voxcert.evaluation.hearing.row import HearingRow
from voxcert.evaluation.hearing.tables import HEARING_NOTE, hearing_lines, summarize_hearing
from voxcert.evaluation.report.runs import Run
from voxcert.evaluation.report.tables import Table


def measured_margins(runs: Sequence[Run]) -> dict[str, Sequence[HearingRow]]:
    """The margins of each run that has some, by its name."""
    return {run.name: rows for run in runs if run.folder is not None and (rows := read_hearing(run.folder))}


def margins_table(margins: Mapping[str, Sequence[HearingRow]]) -> Table:
    """The margins of runs, a line for each rule of each.

    Args:
        margins: Of at least one run, by its name.
    """
    heading, *_ = hearing_lines({})
    lines = [[name, *line] for name, rows in margins.items() for line in hearing_lines(summarize_hearing(rows))[1:]]
    return Table("hearing", "Certified hearing margin", [["run", *heading], *lines], HEARING_NOTE)
