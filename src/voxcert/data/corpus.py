"""What a corpus is: a list of utterances, each a stretch of an audio file with a speaker."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from voxcert.data.audio import load


@dataclass(frozen=True)
class Utterance:
    """A recording, or a stretch of one, of a single speaker.

    Args:
        id: Name that is unique in its corpus and the same on every machine.
        path: Audio file.
        speaker: Name of the speaker.
        start: First second of the stretch.
        end: Second that the stretch stops at; the end of the file when None.
        text: What is said, where known.
        part: Part of the corpus that it belongs to, such as "train-clean-100"; empty where there are none.
    """

    id: str
    path: Path
    speaker: str
    start: float = 0.0
    end: float | None = None
    text: str = ""
    part: str = ""

    def load(self) -> Tensor:
        """Waveform of shape (time,), 16 kHz, in [-1, 1]; see `voxcert.data.audio.load` for its errors."""
        return load(self.path, self.start, self.end)


class Corpus(ABC):
    """A collection of utterances. A subclass writes `scan`; callers use `utterances`."""

    @abstractmethod
    def scan(self) -> Iterable[Utterance]:
        """Find the utterances, in any order."""

    def utterances(self) -> list[Utterance]:
        """All utterances, sorted by id.

        Raises:
            ValueError: There are none, or two share an id.
        """
        found = sorted(self.scan(), key=lambda utterance: utterance.id)
        if not found:
            raise ValueError(f"{self}: no utterances found")
        repeated = [name for name, count in Counter(utterance.id for utterance in found).items() if count > 1]
        if repeated:
            where = [str(utterance.path) for utterance in found if utterance.id == repeated[0]]
            raise ValueError(
                f"{self}: utterance ids must be unique, got {len(repeated)} repeated, "
                f"such as {repeated[0]!r} for {' and '.join(where)}"
            )
        return found

    def __str__(self) -> str:
        settings = ", ".join(f"{name}={value!r}" for name, value in vars(self).items())
        return f"{type(self).__name__}({settings})"
