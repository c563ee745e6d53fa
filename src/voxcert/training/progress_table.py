"""A CSV file to which every validation of a training adds its lines."""

import re
from collections.abc import Iterable
from pathlib import Path

from voxcert.rows import replace_file

OF_A_STEP = re.compile(r"(?:trials-)?epoch=\d+-step=(\d+)\.[a-z]+")


def forget_later(folder: Path, step: int) -> None:
    """Deletes what a training measured after a step, for one that begins anew in its folder, or goes on from there.

    Args:
        folder: Holds tables of `add_lines`, and files such as `epoch=1-step=20.jsonl`; others stay. It may be missing.
        step: The last one whose lines and files stay; 0 leaves none.
    """
    for table in folder.glob("*.csv"):
        if (text := table.read_text()).startswith("epoch,step,"):
            header, *lines = text.splitlines()
            kept = [line for line in lines if 0 < int(line.split(",")[1]) <= step]
            replace_file(table, "\n".join([header, *kept, ""]))
    for path in folder.iterdir() if folder.is_dir() else ():
        if (own := OF_A_STEP.fullmatch(path.name)) and not 0 < int(own[1]) <= step:
            path.unlink()


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
