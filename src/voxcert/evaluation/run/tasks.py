"""The tasks of a job, and what is finished of them: the rows of all processes, gathered in the plan's order.

Every process writes a file of its own. Lines are copied as they are from where they lie, as in a sort by tags (Knuth
1998, The Art of Computer Programming 3, Section 5): what is in memory of a row is where its line is, and its columns.
"""

import os
from array import array
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Generic, TypeVar

from voxcert.columns import Columns
from voxcert.evaluation.run.folder import ROWS
from voxcert.rows import Row, iterate_lines, replace_lines

About = TypeVar("About")
Kind = TypeVar("Kind", bound=Row)
UNMERGED = "without the rows of other processes: start the run again to merge them"


@dataclass(frozen=True, slots=True)
class Task(Generic[About]):
    """What a job does in one go, such as all that is asked about one utterance, or a batch that is attacked together.

    Attributes:
        about: What it is about, for the function that does it.
        keys: `Row.key` of the rows that it makes, in their order.
    """

    about: About
    keys: tuple[Hashable, ...]


def rows_path(folder: str | Path, rank: int) -> Path:
    """The row file of one process."""
    return Path(folder) / (ROWS if rank == 0 else f"rows.rank{rank}.jsonl")


def row_files(folder: str | Path) -> list[Path]:
    """The row files of all processes that are there."""
    return sorted(Path(folder).glob("rows*.jsonl"))


def unmerged(folder: str | Path) -> str:
    """What is to be said of a run of which rows.jsonl is but a part; "" of any other."""
    return UNMERGED if len(row_files(folder)) > 1 else ""


def merge_rows(
    folder: str | Path, kind: type[Kind], tasks: Sequence[Task], counts: Callable[[Kind], bool]
) -> Columns[Kind]:
    """Gathers the row files of all processes, of this run or a killed one, in rows.jsonl, in the plan's order.

    Rows of tasks that were cut short are dropped, to be made again; those that no task is about are kept at the end. A
    process that outlived a killed run finds its file gone, and ends.

    Args:
        folder: Of the run.
        kind: Class of the rows.
        tasks: The plan.
        counts: Whether a row that a task is about is done with, and not to be made again.

    Returns:
        The rows of finished tasks.
    """
    folder = Path(folder)
    paths = row_files(folder)
    found = dict.fromkeys(key for task in tasks for key in task.keys)
    others: dict[Hashable, int] = {}  # rows that no task is about
    lines = array("q"), array("q"), array("q")  # of each row that counts: its file, where it begins there, its length

    def counted() -> Iterator[Kind]:
        for number, path in enumerate(paths):
            end = 0
            for row, line in iterate_lines(path, kind):
                start, end = end, end + len(line)
                own = found if row.key in found else others
                if own is others or counts(row):
                    own[row.key] = len(lines[0])
                    for values, value in zip(lines, (number, start, len(line)), strict=True):
                        values.append(value)
                    yield row

    rows = Columns(kind, counted())
    done = (task for task in tasks if all(found[key] is not None for key in task.keys))
    order = array("q", (found[key] for task in done for key in task.keys))
    with ExitStack() as stack:
        files = [stack.enter_context(path.open("rb")).fileno() for path in paths]
        places = ((files[lines[0][one]], lines[2][one], lines[1][one]) for one in chain(order, others.values()))
        replace_lines(folder / ROWS, (os.pread(*place) for place in places))
    for path in paths:
        if path.name != ROWS:
            path.unlink()
    return rows.take(order)


def unfinished(tasks: Sequence[Task], keys: Iterable[Hashable]) -> list[Task]:
    """The tasks that have no rows, where those of the others come first and in the plan's order, as in a merged file.

    Args:
        tasks: The plan.
        keys: Of the rows.
    """
    keys, todo = iter(keys), []
    key = next(keys, None)
    for task in tasks:
        if task.keys and task.keys[0] != key:
            todo.append(task)
            continue
        for _ in task.keys:
            key = next(keys, None)
    return todo
