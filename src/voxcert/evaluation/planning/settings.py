"""The settings of a pilot, checked before anything slow happens."""

import math
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

from voxcert.evaluation.run.speed import Precision, check_precision
from voxcert.smoothing.sampler import LARGEST_SIGMA

SIGMAS = (0.01, 0.03, 0.1, 0.25)
BUDGETS = (0.01, 0.03, 0.1, 0.1953125, 0.5)
SAMPLES = (64, 128, 256, 512, 1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000)


@dataclass(frozen=True)
class PlanSettings:
    """How a certification is planned, and where the plan goes.

    Args:
        output_dir: Folder for rows.jsonl, summary.json (the plan) and config.yaml. A pilot that was killed continues
            here when it is started again.
        minutes: How long the certification may take on this device.
        sigmas: Standard deviations of the smoothing noise to try, waveform amplitude, ascending.
        budgets: l2 norms at which certified accuracy is foretold, ascending. 0.1953125 is that of a published attack
            (6400 in units of 16-bit audio).
        samples: Numbers of samples (num_estimate) to choose from, ascending.
        num_utterances: Utterances of the pilot, spread over the speakers.
        num_pilot: Samples of each of them that the estimates follow from.
        num_select: Samples that choose the speaker, in the pilot and in the certification.
        alpha: Error probability of one certificate.
        enroll_noise: Noise draws at sigma for every enrolment segment; 0 enrols on clean speech.
        seed: Seed of all noise. That of the pilot is not that of the certificates.
        batch_size: Noisy copies per forward; `auto` times several.
        accelerator: Where to compute; auto takes CUDA where it is at hand.
        precision: 32, `tf32`, `bf16` or 16, as for `certify`.

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
    seed: int = 0
    batch_size: int | Literal["auto"] = "auto"
    accelerator: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Precision = 32

    def __post_init__(self) -> None:
        if not 0 < self.minutes < math.inf:
            raise ValueError(f"minutes must be finite and above 0, got {self.minutes}")
        for name in ("sigmas", "budgets", "samples"):
            values = getattr(self, name)
            rising = all(first < second for first, second in pairwise(values))
            if not (values and 0 < values[0] and values[-1] < math.inf and rising):
                raise ValueError(f"{name} must be one or more ascending finite numbers above 0, got {values}")
        if self.sigmas[-1] > LARGEST_SIGMA:
            raise ValueError(f"sigmas must be at most {LARGEST_SIGMA}, got {self.sigmas}")
        for name in ("num_utterances", "num_pilot", "num_select"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.enroll_noise < 0:
            raise ValueError(f"enroll_noise must be at least 0, got {self.enroll_noise}")
        check_precision(self.precision)
        if not 0 < self.alpha < 1:
            raise ValueError(f"alpha must be in (0, 1), got {self.alpha}")
