"""What an inversion found of one speaker: a frozen row that is one line of JSON."""

from dataclasses import dataclass

from voxcert.rows import Row


@dataclass(frozen=True)
class InversionRow(Row):
    """One speaker, one experiment.

    Attributes:
        experiment: Name and method.
        speaker: Who was inverted.
        named: Whom the system hears in the whole result; None where several have the largest posterior.
        chunk_accuracy: Share of the result's chunks in which the system hears the speaker.
        posterior: Mean released posterior of the speaker over the chunks.
        cost: What the descent ended with.
        steps: Of the gradient, in all windows.
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
    steps: int = 0
    distance: float | None = None
    nearest: float | None = None
    encoder: str = ""
    seed: int = 0
    seconds: float = 0.0
    failed: str | None = None

    @property
    def key(self) -> tuple[str, str]:
        """Experiment and speaker."""
        return self.experiment, self.speaker

    @property
    def correct(self) -> bool:
        """Whether the system hears the speaker, and nobody else as well."""
        return self.named == self.speaker
