"""What `voxcert report` and `voxcert certify` print of runs: tables, what they prove, and where the plots are."""

from pathlib import Path
from typing import Any

from voxcert.evaluation.attack.comparison import describe_attacks, is_attack_run, redraw
from voxcert.evaluation.certification.comparison import COMPARISON_PLOT, plot_comparison
from voxcert.evaluation.certification.figures import plot_certified_accuracy
from voxcert.evaluation.certification.folder import PLOT, planned_utterances, read_run
from voxcert.evaluation.certification.tables import (
    TABLE_NOTE,
    default_radii,
    markdown_table,
    statement,
    summarize,
    unfinished,
)
from voxcert.evaluation.defence.job import describe_comparison, is_comparison
from voxcert.evaluation.run.folder import read_config
from voxcert.smoothing.certificate import Certificate


def show_runs(runs: list[str], radii: list[float] | None) -> None:
    """Shows the tables of runs and draws their plots again.

    Args:
        runs: Output folders of `certify`, `voxcert attack` and `voxcert defend`.
        radii: Of the tables of certificates; those of the run when None.
    """
    compared = [run for run in runs if is_comparison(run)]
    attacked = [run for run in runs if is_attack_run(run)]
    certified = [run for run in runs if run not in attacked + compared]
    for run in compared:
        print(f"\n{run}\n\n{describe_comparison(run)}")
    for run in certified:
        rows = read_run(run)
        plot_certified_accuracy(rows, Path(run) / PLOT, planned_utterances(run))
        own = (read_config(run) or {}).get("radii") or default_radii(rows[0].sigma)
        show(run, summarize(rows, radii or own), rows)
    if len(certified) > 1:
        plot_comparison(certified, path := Path(certified[0]) / COMPARISON_PLOT)
        print(f"\n{path}")
    if attacked:
        print(f"\n{describe_attacks(attacked, certified)}\n\n{redraw(attacked, certified)}")


def show(folder: str, rules: dict[str, Any], rows: list[Certificate]) -> None:
    """Prints the table of a certification and what its rows prove."""
    planned = planned_utterances(folder)
    done = unfinished(rows, planned)
    about = folder if done is None else f"{folder}: not finished, {done}"
    print(
        f"\n{about}\n\n{markdown_table(rules)}\n\n{TABLE_NOTE}\n\n{statement(rows, planned)}\n\n{Path(folder) / PLOT}"
    )
