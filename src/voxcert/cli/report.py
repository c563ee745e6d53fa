"""`voxcert report`."""

from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

from voxcert.cli.errors import messages_for_errors
from voxcert.cli.options import first_line
from voxcert.evaluation.attack.comparison import describe_attacks, is_attack_run, redraw
from voxcert.evaluation.certification.comparison import COMPARISON_PLOT, plot_comparison
from voxcert.evaluation.certification.figures import plot_certified_accuracy
from voxcert.evaluation.certification.folder import PLOT, read_run
from voxcert.evaluation.certification.tables import TABLE_NOTE, default_radii, markdown_table, statement, summarize
from voxcert.evaluation.defence.job import describe_comparison, is_comparison
from voxcert.evaluation.run.folder import read_config
from voxcert.smoothing.certificate import Certificate


def report(args: list[str], program: str = "voxcert report") -> None:
    """Shows the tables of runs and draws their plots again, from their rows alone; certificates beside attacks."""
    parser = ArgumentParser(prog=program, description=first_line(report))
    parser.add_argument(
        "runs", type=str, nargs="+", help="Output folders of `certify`, `voxcert attack` and `voxcert defend`."
    )
    parser.add_argument("--radii", type=list[float] | None, help="Radii of the table; those of the run when null.")
    config = parser.parse_args(args)
    with messages_for_errors():
        compared = [run for run in config.runs if is_comparison(run)]
        attacked = [run for run in config.runs if is_attack_run(run)]
        certified = [run for run in config.runs if run not in attacked + compared]
        for run in compared:
            print(f"\n{run}\n\n{describe_comparison(run)}")
        for run in certified:
            rows = read_run(run)
            plot_certified_accuracy(rows, Path(run) / PLOT)
            radii = config.radii or (read_config(run) or {}).get("radii") or default_radii(rows[0].sigma)
            show(run, summarize(rows, radii), rows)
        if len(certified) > 1:
            plot_comparison(certified, path := Path(certified[0]) / COMPARISON_PLOT)
            print(f"\n{path}")
        if attacked:
            print(f"\n{describe_attacks(attacked, certified)}\n\n{redraw(attacked, certified)}")


def show(folder: str, rules: dict[str, Any], rows: list[Certificate]) -> None:
    """Prints the table of a certification and what its rows prove."""
    print(f"\n{folder}\n\n{markdown_table(rules)}\n\n{TABLE_NOTE}\n\n{statement(rows)}\n\n{Path(folder) / PLOT}")
