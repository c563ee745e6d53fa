"""A CSV file to which every validation of a training adds its lines."""

from collections.abc import Iterable
from pathlib import Path

from voxcert.rows import replace_file


def add_lines(table: Path, header: str, epoch: int, step: int, lines: Iterable[str]) -> None:
    """Adds what was measured at a step; a training that goes on from a checkpoint may come by that step again.

    Args:
        table: The file; made where it is missing.
        header: Names of the columns after `epoch` and `step`.
        epoch: Of the training.
        step: Of the training. What the file has of this step is replaced.
        lines: Values of the columns after `epoch` and `step`, without line ends.
    """
    before = table.read_text().splitlines()[1:] if table.is_file() else []
    kept = [line for line in before if not line.startswith(f"{epoch},{step},")]
    added = [f"{epoch},{step},{line}" for line in lines]
    replace_file(table, "\n".join([f"epoch,step,{header}", *kept, *added, ""]))
