"""The settings of an inversion run, checked before anything slow happens.

Methods, starts and numbers are those of Pizzi et al. 2023 (arXiv 2301.03206, sec. 4).
"""

import math
from dataclasses import dataclass
from typing import Literal, get_args

from voxcert.attacks.inversion.descent import Cost, Descent
from voxcert.attacks.inversion.starts import Start

Method = Literal["standard", "sliding", "d_vector"]
Access = Literal["released", "weights"]
MOST_DIGITS = 12
"""Of rounded posteriors: sums over a thousand chunks are exact with so many."""


@dataclass(frozen=True)
class Experiment:
    """One way to invert: a row of the table.

    Args:
        name: Of the start, such as "white noise".
        method: `standard` inverts each window by itself, `sliding` overlapping windows one after the other, `d_vector`
            the classifier block alone.
        start: Where it begins.
        step_size: Of the descent.

    Raises:
        ValueError: If the name could not be a folder's, the method is unknown, a d-vector would start from speech, or
            the step is not above 0.
    """

    name: str
    method: Method
    start: Start
    step_size: float

    def __post_init__(self) -> None:
        if not self.name or "/" in self.name or self.name.startswith("."):
            raise ValueError(f"name must be usable as that of a folder, got {self.name!r}")
        if self.method not in get_args(Method):
            raise ValueError(f"method must be one of {', '.join(get_args(Method))}, got {self.method!r}")
        if self.method == "d_vector" and self.start.num_stretches:
            raise ValueError(f"start must not be made of speech where the method is d_vector, got {self.start}")
        Descent(self.step_size)

    @property
    def title(self) -> str:
        """Name and method: unique in a run."""
        return f"{self.name}, {self.method}"


@dataclass(frozen=True)
class InversionSettings:
    """Who is inverted how, against which defence, and where the results go.

    Args:
        output_dir: Folder for rows.jsonl, summary.json, table.md, figures, audio and config.yaml. A run that was killed
            continues here when it is started again.
        experiments: Starts and methods.
        steps: At most, of a window (alpha; 1000 in the paper).
        patience: Stop where the cost is no less than the largest of so many before it (beta).
        threshold: Stop where the cost is at most this (gamma).
        cost: `posterior` is 1 - p_t, as published; `log_posterior` is -log p_t.
        start_samples: Length of what sliding starts from; the result is a window shorter.
        stride: Samples between the beginnings of two sliding windows.
        num_speakers: Invert so many of the training speakers, drawn by the seed; all when null.
        round_digits: Defence: release posteriors rounded to so many digits, at most 12.
        posterior_noise: Defence: add noise, uniform between 0 and this, to every posterior that is released.
        sigma: Defence: release the mean posterior over copies under Gaussian noise, waveform amplitude.
        num_noise: Copies for each gradient, when there is a sigma.
        num_eval: Copies for each decision, when there is a sigma.
        access: What the attacker descends. `released` are the posteriors as defended, with gradients that go straight
            through rounding. `weights` is the network itself, as whoever holds the weights can.
        keep: Write inverted audio as FLAC files to listen to.
        batch_size: Speakers inverted together.
        seed: Of speakers, starts and noise.
        accelerator: Where to compute; auto takes CUDA where it is at hand.

    Raises:
        ValueError: If a setting is out of range; says which, what is allowed and what was given.
    """

    output_dir: str
    experiments: list[Experiment]
    steps: int = 1000
    patience: int = 20
    threshold: float = 0.01
    cost: Cost = "posterior"
    start_samples: int = 6400
    stride: int = 500
    num_speakers: int | None = None
    round_digits: int | None = None
    posterior_noise: float = 0.0
    sigma: float | None = None
    num_noise: int = 8
    num_eval: int = 32
    access: Access = "released"
    keep: bool = True
    batch_size: int = 64
    seed: int = 0
    accelerator: Literal["auto", "cpu", "cuda"] = "auto"

    def __post_init__(self) -> None:
        titles = [experiment.title for experiment in self.experiments]
        if not titles or len(set(titles)) < len(titles):
            raise ValueError(f"experiments must be one or more of different name or method, got {titles}")
        self.descent(1.0)
        for name in ("start_samples", "stride", "num_noise", "num_eval", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.seed < 0:
            raise ValueError(f"seed must be at least 0, got {self.seed}")
        if self.num_speakers is not None and self.num_speakers < 1:
            raise ValueError(f"num_speakers must be at least 1 or null, got {self.num_speakers}")
        if self.round_digits is not None and not 1 <= self.round_digits <= MOST_DIGITS:
            raise ValueError(f"round_digits must be in [1, {MOST_DIGITS}] or null, got {self.round_digits}")
        if not 0 <= self.posterior_noise < math.inf:
            raise ValueError(f"posterior_noise must be at least 0 and finite, got {self.posterior_noise}")
        if self.sigma is not None and not self.sigma > 0:
            raise ValueError(f"sigma must be above 0 or null, got {self.sigma}")
        if self.access not in get_args(Access):
            raise ValueError(f"access must be one of {', '.join(get_args(Access))}, got {self.access!r}")

    def descent(self, step_size: float) -> Descent:
        """How each window is descended."""
        return Descent(step_size, self.steps, self.patience, self.threshold, self.cost)
