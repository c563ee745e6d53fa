"""What became of one audio file: a frozen row that is one line of JSON."""

from dataclasses import dataclass

from voxcert.rows import Row


@dataclass(frozen=True)
class PurifiedRow(Row):
    """What became of one file.

    Attributes:
        file: The input.
        output: What was written, relative to the output folder; None where that failed.
        failed: None, or why nothing was.
        text: What the transcriber heard; None without one.
        duration: Of the audio, in seconds.
        change_db: Power of the input over that of the change, 10 log10; None if nothing was changed or it failed.
        seconds: What it took.
        content: SHA-256 of the input: a file that has changed since is purified again.
    """

    file: str
    output: str | None
    failed: str | None = None
    text: str | None = None
    duration: float = 0.0
    change_db: float | None = None
    seconds: float = 0.0
    content: str = ""

    @property
    def key(self) -> tuple[str]:
        """The input."""
        return (self.file,)
