"""Whose the files in an output folder are: what lay there before is never replaced."""

import json
import os
from collections.abc import Iterable
from pathlib import Path

from voxcert.evaluation.purification.row import PurifiedRow
from voxcert.rows import replace_file

CLAIMED = ".places.json"
"""The places that the folder's runs found free: a file may be there before its row is, when a run is killed."""


def claim_places(folder: Path, places: Iterable[str], rows: Iterable[PurifiedRow], write: bool = True) -> None:
    """Claims places for the results of a run, before the first one is written.

    Args:
        folder: The output folder.
        places: Of the results, relative to it.
        rows: That the folder has; older folders claimed their places by these alone.
        write: Whether to note the claim, which one process does.

    Raises:
        ValueError: If a file is at one of them that no run in this folder made; nothing is claimed then.
    """
    places, path = list(places), folder / CLAIMED
    claimed = set(json.loads(path.read_text())) if path.is_file() else set()
    own = claimed | {row.output for row in rows}
    foreign = [place for place in places if place not in own and os.path.lexists(folder / place)]
    if foreign:
        more = f" and {len(foreign) - 1} more" if len(foreign) > 1 else ""
        raise ValueError(
            f"output_dir must have no other files where results go, got {folder} with {foreign[0]}{more}, which no "
            "run made there: give another folder, or move them away"
        )
    if write and not claimed.issuperset(places):
        replace_file(path, json.dumps(sorted(claimed.union(places))) + "\n")
