"""Whose a folder is: that of one run, with its settings and data, from its first result on.

A run that was refused after it had begun to write, or stopped while it enrolled, holds no result that other settings
could spoil. What it left is forgotten, so that the corrected command may use its folder.
"""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from voxcert.data.identity import Planned, check_plan, read_plan
from voxcert.encoders.refusals import PROTOTYPES
from voxcert.evaluation.run.folder import CONFIG, PLAN, check_settings
from voxcert.evaluation.run.lock import HOLDER, LOCK, is_first_process
from voxcert.evaluation.run.tasks import row_files

PREPARED = (PROTOTYPES, "cohort.json", "data.txt", PLAN, CONFIG)
"""What jobs write before their first result, the settings last: they are there until all else of them is gone."""
ENROLLED = "enrolled"
"""A folder with the speakers of every defence, each as `PREPARED` has them."""
HEARD = "heard"
"""A folder of results under the hashes of what they follow from: those of any settings."""


def claim(
    folder: str | Path, config: dict[str, Any], plan: Sequence[Planned] | None, may_differ: Collection[str] = ()
) -> None:
    """Makes a folder that of a run, and forgets what one with other settings or data left there before a result.

    Call it while the folder is locked. Only the first process of a job forgets; the others leave that to it.

    Args:
        folder: Output folder.
        config: Settings of the run, for `check_settings`.
        plan: What the run is about; None for a job that may be given more data later.
        may_differ: See `check_settings`.

    Raises:
        ValueError: If the folder holds results of other settings or data (the message names them), or files of which
            no job is known.
    """
    folder = Path(folder)
    if not is_first_process() and _is_unbegun(folder):
        return  # the first process may be forgetting it just now
    try:
        check_settings(folder, config, may_differ)
        if plan is not None:
            _check_data(folder, plan)
    except ValueError:
        if not _is_unbegun(folder):
            raise
        _forget(folder)


def _check_data(folder: Path, plan: Sequence[Planned]) -> None:
    """Refuses data other than those that the folder's run is about; ValueError names what differs."""
    if not (folder / CONFIG).is_file():
        return  # nothing was made there yet
    if not (folder / PLAN).is_file():
        raise ValueError(f"output_dir must be new or hold a run that noted its data, got {folder} without {PLAN}")
    check_plan(read_plan(folder / PLAN), plan, f"the run in output_dir {folder}")


def _is_unbegun(folder: Path) -> bool:
    """Whether a folder holds a run without a result: what a job prepares, row files without a row, and nothing else.

    A lone config.yaml may be one that somebody wrote.
    """
    rows = row_files(folder)
    is_run = bool(rows) or (folder / PLAN).is_file()
    return is_run and all(_is_prepared(path, folder) for path in folder.rglob("*") if path.is_file())


def _is_prepared(path: Path, folder: Path) -> bool:
    if path.relative_to(folder).parts[0] == HEARD or path.name in (*PREPARED, LOCK, HOLDER):
        return True
    return path in row_files(path.parent) and path.stat().st_size == 0


def _forget(folder: Path) -> None:
    for name in PREPARED:
        for path in (folder / name, *(folder / ENROLLED).rglob(name)):
            path.unlink(missing_ok=True)
