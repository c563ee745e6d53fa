"""`voxcert report`."""

from jsonargparse import ArgumentParser

from voxcert.cli import COMMANDS
from voxcert.cli.errors import messages_for_errors


def report(args: list[str], program: str = "voxcert report") -> None:
    """Shows the tables of runs and draws their plots again, from their rows alone; certificates beside attacks."""
    parser = ArgumentParser(prog=program, description=COMMANDS["report"].purpose)
    parser.add_argument(
        "runs", type=str, nargs="+", help="Output folders of `certify`, `voxcert attack` and `voxcert defend`."
    )
    parser.add_argument("--radii", type=list[float] | None, help="Radii of the table; those of the run when null.")
    config = parser.parse_args(args)
    with messages_for_errors():
        from voxcert.cli.tables import show_runs  # here: --help and mistakes answer without torch

        show_runs(config.runs, config.radii)
