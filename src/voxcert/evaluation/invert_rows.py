"""What an inversion found of one speaker: a frozen row that is one line of JSON, and the files of such rows."""

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from voxcert.evaluation.run_folder import ROWS


@dataclass(frozen=True)
class InversionRow:
    """One speaker, one experiment.

    Attributes:
        experiment: Name and method.
        speaker: Who was inverted.
        named: Whom the system hears in the whole result.
        chunk_accuracy: Share of the result's chunks in which the system hears the speaker.
        posterior: Mean released posterior of the speaker over the chunks.
        cost: What the descent ended with.
        iterations: Gradient steps, of all windows.
        distance: Mean Euclidean distance to the d-vectors of the speaker's recordings, all of unit norm.
        nearest: The least of these distances.
        encoder: Hash of the network.
        seed: Seed of start and noise.
        seconds: Wall-clock time, shared equally among the speakers inverted together.
        failed: None, or why there is no result.
    """

    experiment: str
    speaker: str
    named: str | None = None
    chunk_accuracy: float = 0.0
    posterior: float = 0.0
    cost: float | None = None
    iterations: int = 0
    distance: float | None = None
    nearest: float | None = None
    encoder: str = ""
    seed: int = 0
    seconds: float = 0.0
    failed: str | None = None

    @property
    def correct(self) -> bool:
        """Whether the system hears the speaker."""
        return self.named == self.speaker

    def to_json(self) -> str:
        """One line of JSON; ValueError if a number is NaN or infinite."""
        return json.dumps(asdict(self), allow_nan=False, ensure_ascii=False)

    @classmethod
    def from_json(cls, line: str) -> "InversionRow":
        """The row in a line written by `to_json`; ValueError if the keys are not those of a row."""
        values = json.loads(line)
        names = {field.name for field in fields(cls)}
        if not isinstance(values, dict) or values.keys() != names:
            raise ValueError(f"a row of an inversion must have the keys {sorted(names)}, got {sorted(values)}")
        return cls(**values)


def read_inversions(folder: str | Path) -> list[InversionRow]:
    """Rows of a run, finished or not; none where there is no file. A torn last line is left out.

    Raises:
        ValueError: If another line is no row of an inversion; names file and line.
    """
    path = Path(folder) / ROWS
    if not path.is_file():
        return []
    *lines, _torn = path.read_bytes().split(b"\n")
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            rows.append(InversionRow.from_json(line.decode()))
        except (ValueError, TypeError) as error:
            raise ValueError(f"{path}, line {number}: not a row of an inversion ({error})") from error
    return rows


def rewrite_inversions(folder: str | Path, rows: Iterable[InversionRow]) -> None:
    """Replaces the rows of a folder by these or, if killed meanwhile, leaves them as they were."""
    path = Path(folder) / ROWS
    temporary = path.with_name(f".{ROWS}.tmp")
    with temporary.open("w", encoding="utf-8") as file:
        file.writelines(row.to_json() + "\n" for row in rows)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
