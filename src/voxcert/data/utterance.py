"""What everything here is about: a stretch of an audio file with a speaker."""

from dataclasses import dataclass, field
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
        channel: Channel to read, 0 being the first; the average of all when None.
        origin: Where it is listed, such as a line of a manifest, for messages; two that differ in this alone are equal.
    """

    id: str
    path: Path
    speaker: str
    start: float = 0.0
    end: float | None = None
    text: str = ""
    part: str = ""
    channel: int | None = None
    origin: str = field(default="", compare=False, repr=False)

    def load(self) -> Tensor:
        """Waveform of shape (time,), 16 kHz, in [-1, 1]; see `voxcert.data.audio.load` for its errors."""
        return load(self.path, self.start, self.end, channel=self.channel)

    def __str__(self) -> str:
        place = self.origin or str(self.path)
        return f"{place} ({self.speaker}, {self.start:g} s to {'end' if self.end is None else f'{self.end:g} s'})"
