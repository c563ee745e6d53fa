"""What an inversion found of one speaker: a frozen row that is one line of JSON, and the files of such rows."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from voxcert.evaluation.json_rows import JsonRow, read_json_rows, rewrite_json_rows
from voxcert.evaluation.run_folder import ROWS


@dataclass(frozen=True)
class InversionRow(JsonRow):
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


def read_inversions(folder: str | Path) -> list[InversionRow]:
    """Rows of a run, finished or not; none where there is no file. A torn last line is left out.

    Raises:
        ValueError: If another line is no such row; names file and line.
    """
    return read_json_rows(Path(folder) / ROWS, InversionRow)


def rewrite_inversions(folder: str | Path, rows: Iterable[InversionRow]) -> None:
    """Replaces the rows of a folder by these or, if killed meanwhile, leaves them as they were."""
    rewrite_json_rows(Path(folder) / ROWS, rows)
