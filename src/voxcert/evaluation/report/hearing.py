"""How far below the threshold of hearing certificates cover everything, where `voxcert hearing` measured it."""

from collections.abc import Mapping, Sequence

from voxcert.evaluation.hearing.job import read_hearing
from voxcert.evaluation.hearing.row import HearingRow
from voxcert.evaluation.hearing.tables import HEARING_NOTE, hearing_lines, summarize_hearing
from voxcert.evaluation.report.runs import Run
from voxcert.evaluation.report.tables import Table


def measured_margins(runs: Sequence[Run]) -> tuple[dict[str, Sequence[HearingRow]], dict[str, str]]:
    """The margins of each run that has those of all its rows, and how far others have come, by the name of the run.

    What was measured while a run was at it says nothing of shares of all its utterances.
    """
    margins, lacking = {}, {}
    for run in runs:
        rows = [] if run.folder is None else read_hearing(run.folder)
        if not rows:
            continue
        measured, needed = {row.key for row in rows}, {row.key for row in run.rows}
        if measured == needed:
            margins[run.name] = rows
        else:
            done = run.num_utterances - len({utterance for utterance, *_ in needed - measured})
            lacking[run.name] = f"measured for {done} of {run.num_utterances} utterances: run voxcert hearing again."
    return margins, lacking


def margins_table(margins: Mapping[str, Sequence[HearingRow]]) -> Table:
    """The margins of runs, a line for each rule of each.

    Args:
        margins: Of at least one run, by its name.
    """
    heading, *_ = hearing_lines({})
    lines = [[name, *line] for name, rows in margins.items() for line in hearing_lines(summarize_hearing(rows))[1:]]
    return Table("hearing", "Certified hearing margin", [["run", *heading], *lines], HEARING_NOTE)
