"""One trial of verification against one defence, before and after an attack: a frozen row that is one line of JSON."""

from dataclasses import asdict, dataclass, field
from math import isnan
from typing import Any

from voxcert.evaluation.metrics.speech_quality import METRICS, Quality
from voxcert.rows import Row


@dataclass(frozen=True)
class DefenceRow(Row):
    """One trial, one condition, one defence.

    Attributes:
        defence: Name of the defence.
        condition: `genuine`, or the name of the attack.
        adaptive: Whether the attack was on the defended system; otherwise on the encoder without a defence.
        utterance: Id of the utterance.
        speaker: Who speaks.
        claim: Who it claims to be.
        target: Whether that is true: the attack is then after a rejection, otherwise after an acceptance.
        failed: None, or why there is no result.
        score: Cosine of the purified utterance and the claimed speaker; None where that failed.
        stoi: Of the purified waveform against the clean one; None where `reasons` says why.
        pesq: As `stoi`.
        si_sdr_db: As `stoi`.
        snr_db: As `stoi`.
        reasons: Metric -> why it is None.
        l2: Norm of what was added to the clean waveform before the purifier.
        linf: Its largest sample.
        seconds: Time of attack, purification and measurement, shared equally within a batch.
        system: Hash of the encoder, and after a + that of the purifier.
        text: What the purifier was told, see `Defence`.
        seed: Of trials, noise and attacks.
    """

    defence: str
    condition: str
    adaptive: bool
    utterance: str
    speaker: str
    claim: str
    target: bool
    failed: str | None = None
    score: float | None = None
    stoi: float | None = None
    pesq: float | None = None
    si_sdr_db: float | None = None
    snr_db: float | None = None
    reasons: dict[str, str] = field(default_factory=dict)
    l2: float = 0.0
    linf: float = 0.0
    seconds: float = 0.0
    system: str = ""
    text: str = "none"
    seed: int = 0

    @property
    def key(self) -> tuple[Any, ...]:
        """What the row is about."""
        return self.defence, self.condition, self.adaptive, self.utterance, self.claim

    @property
    def quality(self) -> Quality:
        """What was measured, NaN where it could not be."""
        values = {name: getattr(self, name) for name in METRICS}
        values = {name: float("nan") if value is None else value for name, value in values.items()}
        return Quality(**values, reasons=self.reasons)


def quality_fields(quality: Quality) -> dict[str, Any]:
    """A quality as fields of a row: JSON has no NaN."""
    return {
        name: None if isinstance(value, float) and isnan(value) else value for name, value in asdict(quality).items()
    }
