"""What an attack did to one utterance: a frozen row that is one line of JSON.

The counterpart of `voxcert.smoothing.Certificate`; SNR is 10 log10(P_x / P_delta), as in Yao et al. 2022 (section
IV-A4).
"""

from dataclasses import dataclass
from typing import Any

from voxcert.rows import Row

ROUNDED = 2.0**-16
"""What rounding to 16 bits changes a sample by, at most."""


@dataclass(frozen=True)
class AttackRow(Row):
    """One utterance, one attack.

    Decisions are names of speakers, None for nobody (an open set that rejects, a claim that is refused).

    Attributes:
        utterance: Id of the utterance.
        speaker: Who speaks.
        target: Who the attack wanted to be taken for; None for anything but the right decision.
        scenario: `csi`, `osi` or `sv`.
        expected: The right decision.
        attack: Name of the attack.
        attack_settings: Its settings.
        seed: Seed of target, attack and noise.
        encoder: Hash of the encoder.
        radius: l2 budget of the attack in a run over radii or within certified ones; otherwise None.
        within: Share of the certified radius that this is; None in other runs.
        threshold: Least accepted score; None in a closed set.
        start: What the attack began with: the `utterance`, or noise of this colour in its place.
        sigma: Smoothing noise of the system; None where it is not smoothed.
        decision: How a smoothed system decides, `mean` or `vote`.
        num_noise: Noise draws per gradient of a smoothed system.
        num_eval: Noise draws per decision of a smoothed system.
        failed: None, or why there is no result.
        clean: Decision before the attack.
        adversarial: Decision after it; about the written file where one was kept.
        abstained_before: Whether the system did not answer before the attack, or its scores were not finite; the
            decision is then None.
        abstained: Whether it did not answer after it: no success, except for who wants to lock a speaker out.
        score: In verification, of the claim after the attack: its cosine, or smoothed the mean or median cosine over
            all `num_eval` draws; None elsewhere.
        judge: Hash of another encoder that heard what the attack made; None where there was none.
        judge_threshold: Least score that it accepts.
        judge_before: Its score of the target before the attack.
        judge_score: Its score of the target after it.
        success_before: Whether the clean utterance already did what the attack wants.
        success: Whether the adversarial one does.
        snr_db: Power of the utterance over that of the perturbation; None if either is 0.
        l2: Norm of the perturbation, waveform in [-1, 1].
        linf: Its largest sample.
        seconds: Wall-clock time of the attack, shared equally among the utterances attacked together.
        forwards: Waveforms that the attack sent through the encoder, noisy copies one by one, shared equally as
            `seconds` is; None in rows older than the count, and where nothing was attacked. What the attack learnt or
            was trained on beforehand, and the decisions here, do not count; an encoder behind a purifier counts with it
            as one.
        backwards: Waveforms for which it took gradients of the encoder, likewise.
        file: Adversarial waveform, relative to the folder of the run; None where it was not kept.
    """

    utterance: str
    speaker: str
    target: str | None
    scenario: str
    expected: str | None
    attack: str
    attack_settings: dict[str, Any]
    seed: int
    encoder: str = ""
    radius: float | None = None
    within: float | None = None
    threshold: float | None = None
    start: str = "utterance"
    sigma: float | None = None
    decision: str | None = None
    num_noise: int = 0
    num_eval: int = 0
    failed: str | None = None
    clean: str | None = None
    adversarial: str | None = None
    abstained_before: bool = False
    abstained: bool = False
    score: float | None = None
    judge: str | None = None
    judge_threshold: float | None = None
    judge_before: float | None = None
    judge_score: float | None = None
    success_before: bool = False
    success: bool = False
    snr_db: float | None = None
    l2: float = 0.0
    linf: float = 0.0
    seconds: float = 0.0
    forwards: float | None = None
    backwards: float | None = None
    file: str | None = None

    @property
    def key(self) -> tuple[str, float | None]:
        """Utterance and radius."""
        return self.utterance, self.radius

    @property
    def claim(self) -> str:
        """Whom the utterance claimed to be, in verification."""
        return self.target or self.speaker

    @property
    def correct_before(self) -> bool:
        """Whether the clean utterance was decided rightly, also where the attack on it then failed."""
        was_heard = self.failed is None or self.forwards is not None  # what cannot be read is not attacked
        return was_heard and not self.abstained_before and self.clean == self.expected

    @property
    def correct(self) -> bool:
        """Whether the adversarial one was."""
        return self.failed is None and not self.abstained and self.adversarial == self.expected

    @property
    def changed(self) -> bool:
        """Whether the attack changed the utterance, by more than a written file is rounded."""
        return self.failed is None and self.linf > (0 if self.file is None else ROUNDED)

    @property
    def turned(self) -> bool:
        """Whether the adversarial one was decided wrongly; an abstention is no decision."""
        return self.failed is None and not self.abstained and self.adversarial != self.expected
