"""The settings of an audit, checked before anything slow happens."""

from dataclasses import dataclass, field, fields
from typing import Literal

from voxcert.evaluation.planning import PlanSettings
from voxcert.evaluation.planning.settings import BUDGETS, SAMPLES, SIGMAS


@dataclass(frozen=True)
class AuditSettings:
    """How much an audit does, and where the results go.

    Args:
        output_dir: Folder for report.html and a folder for each stage. An audit that was killed continues here when it
            is started again.
        minutes: How long attacks and certificates may take on this device, all together. The plan chooses sigmas,
            samples and, if need be, fewer utterances so that they fit; checking the data, enrolment and the plan itself
            come on top.
        sigmas: Standard deviations of the smoothing noise that the plan may choose from, waveform amplitude, ascending.
        budgets: l2 norms at which certified accuracy is reported, ascending.
        samples: Numbers of samples (num_estimate) that the plan may choose from, ascending.
        num_utterances: Utterances of the plan's pilot.
        num_pilot: Samples of each of them.
        num_select: Samples that choose the speaker.
        alpha: Error probability of one certificate, and of one answer of the smoothed system under attack.
        enroll_noise: Noise draws at sigma for every enrolment segment; 0 enrols on clean speech.
        attack_steps: Gradient steps of the attacks on the encoder itself; 50 are those of the published ones.
        max_queries: Waveforms that the black-box attack may ask about, for each utterance.
        smoothed_steps: Gradient steps of the attacks on the smoothed system.
        num_noise: Noise draws for each of these gradients.
        num_eval: Noise draws, at most, for each decision of the smoothed system.
        seed: Seed of all noise, attacks and choices.
        batch_size: Noisy copies per forward; `auto` times several, once for all stages.
        accelerator: Where to compute; auto takes CUDA where it is at hand.

    Raises:
        ValueError: If a setting is out of range; says which, what is allowed and what was given.
    """

    output_dir: str
    minutes: float = 30.0
    sigmas: list[float] = field(default_factory=lambda: list(SIGMAS))
    budgets: list[float] = field(default_factory=lambda: list(BUDGETS))
    samples: list[int] = field(default_factory=lambda: list(SAMPLES))
    num_utterances: int = 8
    num_pilot: int = 128
    num_select: int = 64
    alpha: float = 1e-3
    enroll_noise: int = 2
    attack_steps: int = 50
    max_queries: int = 500
    smoothed_steps: int = 20
    num_noise: int = 8
    num_eval: int = 100
    seed: int = 0
    batch_size: int | Literal["auto"] = "auto"
    accelerator: Literal["auto", "cpu", "cuda"] = "auto"

    def __post_init__(self) -> None:
        for name in ("attack_steps", "max_queries", "smoothed_steps", "num_noise", "num_eval"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        self.plan("plan")  # checks the rest

    def plan(self, folder: str) -> PlanSettings:
        """The settings of the pilot: those that both have, in a folder of its own."""
        shared = {one.name: getattr(self, one.name) for one in fields(PlanSettings) if hasattr(self, one.name)}
        return PlanSettings(**shared | {"output_dir": folder})
