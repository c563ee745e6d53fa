"""What a pilot saw of one utterance: a frozen row that is one line of JSON."""

from dataclasses import dataclass, field

from voxcert.rows import Row


@dataclass(frozen=True)
class PilotRow(Row):
    """One utterance, one sigma, one rule. Its radii are estimates, not a guarantee.

    Attributes:
        utterance: Id of the utterance.
        speaker: Who speaks.
        sigma: Standard deviation of the noise.
        rule: Of the certificates that are planned.
        correct: Whether the speaker was named rightly.
        samples: Numbers of samples that a certificate might have.
        radii: The radius that is to be expected of each (`voxcert.smoothing.expected`); 0 where it would abstain, or
            name somebody else.
        num_forwards: Noisy copies that the pilot drew of the utterance, for all rules.
        seconds: How long that took.
        failed: None, or why the utterance could not be heard.
        hoped: The radii if shares of the pilot were probabilities, those of all copies too; none in rows that are older
            than this field.
    """

    utterance: str
    speaker: str
    sigma: float
    rule: str
    correct: bool
    samples: list[int]
    radii: list[float]
    num_forwards: int
    seconds: float
    failed: str | None = None
    hoped: list[float] = field(default_factory=list)

    @property
    def key(self) -> tuple[str, float, str]:
        """Utterance, sigma and rule."""
        return self.utterance, self.sigma, self.rule
