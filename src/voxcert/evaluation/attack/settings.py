"""The settings of an attack run, checked before anything slow happens.

Scenarios are those of Yao et al. 2022 (SSED, section II) and verification: who may be taken for whom.
"""

import math
from dataclasses import dataclass
from typing import Literal, get_args

Scenario = Literal["csi", "osi", "sv"]
Decision = Literal["mean", "vote"]
Start = Literal["utterance", "white", "pink", "brown", "violet", "blue"]


@dataclass(frozen=True)
class AttackSettings:
    """Who is attacked how, and where the results go.

    Args:
        output_dir: Folder for rows.jsonl, summary.json, robust_accuracy.png and config.yaml. A run that was killed
            continues here when it is started again.
        scenario: `csi` names the best of the enrolled speakers and is attacked with their own utterances. `osi` may
            name nobody, and is attacked by impostors: test utterances of speakers who are not enrolled. `sv` verifies
            a claim, of the target if `targeted` (by anybody else) and otherwise of the true speaker.
        targeted: Attack towards a speaker: another one for each utterance, drawn by the seed. Otherwise away from the
            right decision: to be named wrongly (csi), to be named at all (osi), to be rejected (sv).
        target: The same target for all utterances; its own are left out.
        enrolled: Enrol these speakers only (names), or this many of those that have test utterances, drawn by the
            seed; all that the data enrols when null. The test utterances of the others are the impostors.
        start: What an attack on claims begins with: the test `utterance`, or in its place noise of a colour, as loud.
        judge: Another encoder, as for `--checkpoint`, with the same speakers enrolled. It says of what an attack on
            claims made whether it hears the target there too, at the threshold of its own equal error rate.
        judge_hash: Refuse other weights of the judge; the config.yaml of a run holds those it had.
        threshold: Least score that is accepted in osi and sv; where the equal error rate of the test utterances is when
            null (osi: best scores of enrolled speakers against those of impostors; sv: all claims).
        radii: Attack at each of these l2 budgets, in place of the attack's own epsilon and norm, for the curve of
            empirical robust accuracy.
        sigma: Attack the classifier that is smoothed with this noise, by its expectation over `num_noise` draws, new
            ones in every step; null attacks the recognizer itself.
        decision: How a smoothed system decides: by the `mean` embedding or score, or by the `vote` of the noisy copies,
            in sv by their median score (not in osi).
        enroll_noise: Noise draws for every enrolment segment, when there is a sigma; 0 enrols on clean speech, where
            the smoothed embeddings are not.
        num_noise: Noise draws for each gradient, when there is a sigma.
        num_eval: Noise draws for each decision, when there is a sigma: never those of the attack, and the same for an
            utterance and all attacks on it. In csi and sv this many at most, in csi after a quarter as many that pick
            a candidate: the system answers as soon as that is safe, and abstains where it never is.
        alpha: Probability that an answer of a smoothed system (csi, sv) is not the smoothed one, at most.
        certified: Folder of a `certify` run: attack the speakers as they were enrolled there, with recordings that are
            heard as they were there; in csi its curves are drawn too.
        within: In csi attack each utterance of `certified` that is certified for its speaker at this share of its
            certified radius, in place of the attack's own epsilon and norm, and at the sigma of that run: no decision
            can turn there but by the error that alpha allows. By the rule `vote` if that is how decisions are made,
            else by the run's first embedding rule.
        keep: Write adversarial waveforms as 16-bit files, and measure what was written: rounding is then part of the
            attack.
        plot: Draw so many of the attacked utterances, from the first on, into `pictures`: the original, the adversarial
            waveform, their difference, and the mask of an attack that has one.
        utterances_per_batch: Utterances that are attacked together and share a random generator; with 1, an attack
            depends on the seed and the utterance alone.
        batch_size: Noisy copies per forward.
        seed: Seed of targets, attacks and noise.
        accelerator: Where to compute; auto takes CUDA where it is at hand.

    Raises:
        ValueError: If a setting is out of range or has no meaning beside the others; says which, what is allowed and
            what was given.
    """

    output_dir: str
    scenario: Scenario = "csi"
    targeted: bool = True
    target: str | None = None
    enrolled: int | list[str] | None = None
    start: Start = "utterance"
    judge: str | None = None
    judge_hash: str | None = None
    threshold: float | None = None
    radii: list[float] | None = None
    sigma: float | None = None
    decision: Decision = "mean"
    enroll_noise: int = 2
    num_noise: int = 16
    num_eval: int = 200
    alpha: float = 1e-3
    certified: str | None = None
    within: float | None = None
    keep: Literal["flac", "wav"] | None = None
    plot: int = 0
    utterances_per_batch: int = 8
    batch_size: int = 64
    seed: int = 0
    accelerator: Literal["auto", "cpu", "cuda"] = "auto"

    def __post_init__(self) -> None:
        kinds = {"scenario": Scenario, "decision": Decision, "start": Start}
        for name, allowed in {name: get_args(kind) for name, kind in kinds.items()}.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {getattr(self, name)!r}")
        for name in ("num_noise", "num_eval", "utterances_per_batch", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("enroll_noise", "plot"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")
        if not 0 < self.alpha < 1:
            raise ValueError(f"alpha must be in (0, 1), got {self.alpha}")
        if self.sigma is not None and not 0 < self.sigma < math.inf:
            raise ValueError(f"sigma must be finite and above 0, or null, got {self.sigma}")
        if self.radii is not None and not (self.radii and all(0 < radius < math.inf for radius in self.radii)):
            raise ValueError(f"radii must be one or more finite numbers above 0, got {self.radii}")
        if self.radii is not None and len(set(self.radii)) < len(self.radii):
            raise ValueError(f"radii must differ, got {self.radii}")
        self._check_together()

    def _check_together(self) -> None:
        if self.target is not None and not self.targeted:
            raise ValueError(f"target must be null when targeted is false, got {self.target!r}")
        if (self.start != "utterance" or self.judge is not None) and not (self.scenario == "sv" and self.targeted):
            raise ValueError(
                f"start and judge must be utterance and null but for targeted attacks in the scenario sv, got "
                f"{self.start} and {self.judge!r} with scenario {self.scenario} and targeted {self.targeted}"
            )
        if self.judge_hash is not None and self.judge is None:
            raise ValueError(f"judge_hash must be null without a judge, got {self.judge_hash!r}")
        if self.threshold is not None and self.scenario == "csi":
            raise ValueError(f"threshold must be null in the scenario csi, got {self.threshold}")
        if self.threshold is not None and not math.isfinite(self.threshold):
            raise ValueError(f"threshold must be finite or null, got {self.threshold}")
        if self.decision == "vote" and (self.sigma is None or self.scenario == "osi"):
            raise ValueError(
                f"decision must be mean without a sigma or in osi, got vote with sigma {self.sigma} "
                f"in the scenario {self.scenario}"
            )
        if self.within is not None and (
            not 0 < self.within <= 1 or self.certified is None or self.sigma is None or self.radii is not None
        ):
            raise ValueError(
                f"within must be in (0, 1], beside certified and sigma and without radii, got {self.within} with "
                f"certified {self.certified!r}, sigma {self.sigma} and radii {self.radii}"
            )
        if self.within is not None and self.scenario != "csi":
            raise ValueError(f"within must be null but in the scenario csi, got {self.within} in {self.scenario}")
        if self.certified is not None and (
            self.scenario == "osi" or (self.scenario == "csi" and self.enrolled is not None)
        ):
            raise ValueError(
                "certified must be null in osi, and in csi beside enrolled (of whom a name is chosen, that run "
                f"decides), got {self.certified!r} with scenario {self.scenario} and enrolled {self.enrolled}"
            )
