"""The runs that a page is about: certifications of any task, and attacks, finished or not."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from voxcert.encoders.privacy import without_places
from voxcert.evaluation.attack import comparison
from voxcert.evaluation.attack.comparison import is_attack_run, read_attacks
from voxcert.evaluation.attack.row import AttackRow
from voxcert.evaluation.attack.tables import smoothing_name
from voxcert.evaluation.certification.comparison import system_name
from voxcert.evaluation.certification.folder import planned_utterances, read_certified, read_prototypes
from voxcert.evaluation.certification.tables import unfinished
from voxcert.evaluation.run.folder import SUMMARY, comparable, endings, read_config, read_summary
from voxcert.evaluation.run.tasks import unmerged
from voxcert.rows import Row

Folder = str | Path
Task = Literal["identification", "verification", "open_set", "attack"]


@dataclass(frozen=True)
class Run:
    """A run as a page shows it.

    Attributes:
        folder: Where it is; None of rows that were never in one.
        task: What it was.
        rows: Certificates, certified scores or attacked utterances, at least one.
        config: Its settings, nested as in YAML.
        summary: What summary.json says; empty of an unfinished run.
        done: How far it has come, such as "30 of 120 utterances"; None of a finished one.
        name: Its system, and what tells it from the other runs of the page.
    """

    folder: Path | None
    task: Task
    rows: Sequence[Row]
    config: dict[str, Any]
    summary: dict[str, Any]
    done: str | None
    name: str

    @property
    def encoder(self) -> str:
        """Hash of the encoder."""
        return self.rows[0].encoder

    @property
    def sigma(self) -> float | None:
        """Of the smoothing noise; None where an attack was on the bare encoder."""
        return self.rows[0].sigma

    @property
    def noise_at(self) -> str:
        """Where noise enters; attacks smooth waveforms. Radii of runs where that differs are of different things."""
        return getattr(self.rows[0], "noise_at", "waveform")

    @property
    def num_utterances(self) -> int:
        """How many utterances its rows are about."""
        return len({row.utterance for row in self.rows})

    @property
    def settings(self) -> dict[str, Any]:
        """Settings that its rows depend on, under flat names, without places of this machine."""
        return without_places(comparable(self.config))

    @property
    def place(self) -> str:
        """Its folder as a command names it; "" of rows that were never in one."""
        return "" if self.folder is None else shlex.quote(without_places(str(self.folder)))

    @property
    def command(self) -> str:
        """The command that repeats it; "" where none was noted."""
        return without_places(self.summary.get("command", ""))


def open_runs(folders: Sequence[Folder]) -> list[Run]:
    """Reads runs, with a name for each.

    Args:
        folders: Of `certify.py` (any task) and `voxcert attack`.

    Raises:
        ValueError: If there is none, or one holds no rows of such a run.
    """
    if not folders:
        raise ValueError("folders must name at least one run, got none")
    return named([_open(folder) for folder in {Path(one).resolve(): Path(one) for one in folders}.values()])


def named(runs: Sequence[Run]) -> list[Run]:
    """The runs with the end of their folder in the name where two would have the same."""
    ends = endings([run.name for run in runs], [run.folder for run in runs])
    return [replace(run, name=run.name + end) for run, end in zip(runs, ends, strict=True)]


def same_speakers(one: Run, other: Run) -> bool:
    """Whether two runs enrolled the same vectors; of rows that were never in a folder that is not known."""
    return one.folder is not None and other.folder is not None and comparison.same_speakers(one.folder, other.folder)


def same_names(one: Run, other: Run) -> bool:
    """Whether two runs enrolled speakers of the same names, from whatever recordings and noise."""
    names = [None if run.folder is None else read_prototypes(run.folder) for run in (one, other)]
    return None not in names and names[0][1] == names[1][1]


def _open(folder: Path) -> Run:
    config = read_config(folder) or {}
    summary = read_summary(folder) if (folder / SUMMARY).is_file() else {}
    if is_attack_run(folder):
        rows: Sequence[Row] = read_attacks(folder)
        done = None if summary else _so_far(folder, f"{len({row.utterance for row in rows})} utterances so far")
        return Run(folder, "attack", rows, config, summary, done, _attack_name(config, rows[0]))
    rows = read_certified(folder)
    task = config.get("task", "identification")
    done = unfinished(rows, planned_utterances(folder))
    done = done and _so_far(folder, done)
    about = "" if task == "identification" else f", {task.replace('_', ' ')}"
    return Run(folder, task, rows, config, summary, done, f"{system_name(config)}, sigma {rows[0].sigma:g}{about}")


def _so_far(folder: Path, done: str) -> str:
    return ", ".join(filter(None, (done, unmerged(folder))))


def _attack_name(config: dict[str, Any], row: AttackRow) -> str:
    within = "" if row.within is None else ", inside its certificates"
    return f"{row.attack} on {system_name(config)}, {smoothing_name(row)}{within}"
