"""The settings of a certification run, checked before anything slow happens."""

import math
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal, get_args

from voxcert.evaluation.certification.tables import default_radii
from voxcert.evaluation.run.progress import LogFormat
from voxcert.evaluation.run.speed import Precision, check_precision
from voxcert.smoothing.sampler import LARGEST_SIGMA
from voxcert.smoothing.validation import check_settings

Rule = Literal["distribution", "vote", "mean", "lipschitz", "published_mean", "published_se"]
NoisePoint = Literal["waveform", "magnitude", "features"]
Split = Literal["utterances", "samples"]
LEAST_PART = 32
"""Samples of a part for every selection sample, which all parts repeat: a part in so many of the time."""
Task = Literal["identification", "verification", "open_set"]


@dataclass(frozen=True)
class CertificationSettings:
    """How speakers are certified, and where the results go.

    Args:
        output_dir: Folder for rows.jsonl, summary.json, certified_accuracy.png and config.yaml; shared by all nodes. A
            run that was killed continues here when it is started again.
        sigma: Standard deviation of the smoothing noise, in units of what it is added to (waveform amplitude).
        task: `identification` names one of the enrolled speakers, `verification` accepts or rejects a claim, `open_set`
            names an enrolled speaker or nobody. The last two report error rates that no attack can raise, for two
            verifiers: mean score and median score of the noisy copies (see `rules`).
        trials: For verification: file with a list of trials, `1|0 ENROLMENT TEST` as for VoxCeleb or `ENROLMENT TEST
            target|nontarget` as in Kaldi, about the tested speakers. A recording on the enrolment side enrols alone.
            When null, each test utterance claims to be each tested speaker.
        trials_hash: SHA-256 of that file: refuse another list. The config.yaml of a run holds that of its own.
        num_impostors: For verification: other speakers whose place each test utterance claims, drawn by the seed; all
            when null.
        cohort: For verification: normalise scores by those of this cohort, a part of the data or so many speakers drawn
            by the seed, from those who are enrolled but neither tested nor claimed. Thresholds are then about
            normalised scores.
        cohort_nearest: Speakers of the cohort, those nearest to the claim, whose scores count; all when null.
        num_speakers: For identification: how many speakers are enrolled: those who are tested, others drawn by the
            seed, and, beyond those at hand, made-up ones whose prototypes have the mean and covariance of the real
            ones; all at hand, and nobody else, when null.
        enrolled: For the open set: names of the speakers who can be named, or how many of those with test utterances;
            the others are strangers.
        threshold: For verification and the open set: scores from here on are accepted, cosines unless there is a
            cohort. Choose it on other speakers;
            when null, error rates are shown where those of these very speakers are equal without an attack.
        noise_at: Where noise enters: `waveform`, `magnitude` (spectrogram) or `features` of the encoder. Radii are then
            about that representation; only those at the waveform say what an attacker may add to a recording.
        alpha: Error probability of one certificate (one utterance, one rule).
        num_select: Samples that choose the speaker.
        num_estimate: Fresh samples that bound the radius, at most.
        num_looks: How often the radius is computed while sampling (identification); with more than one, sampling stops
            early where going on is not worth it.
        tolerance: With several looks: stop when no radius can be expected to grow by more than this share.
        target_radius: With several looks: stop when every rule has certified this radius.
        keep_statistics: Keep the counts of every utterance in `statistics`: `voxcert recertify` then certifies at any
            other alpha, and puts shards together, without an encoder.
        embeddings: Folder in which the embeddings of noisy copies are kept, and from which they are taken: runs of one
            encoder on the same recordings, with the same sigma and seed, then share their forward passes, whatever else
            they ask (task, rules, alpha, enrolment, fewer copies). Some 800 bytes a copy; nothing is kept when null.
        num_shards: Cut the estimation samples in so many parts, to be drawn by runs of their own, which
            `voxcert recertify` puts together; their statistics must be kept, `num_looks` must be 1, and neither
            `batch_size` nor `compile` may be `auto`, which each run would settle by its own clock.
        shard: Which part this run draws, from 1 on.
        split: What processes share: `utterances`, or, for few utterances and many devices, the `samples` of each, in
            parts of at least 32 num_select. The rows are the same.
        num_thresholds: Size of the grid of the rule `distribution`.
        rules: Certification rules of identification; the first sound one is what the closing sentence is about.
            `published_mean` and `published_se` are the formulas as printed, for comparison: not a guarantee. For
            verification and the open set they say which verifiers there are: `vote` the median score, and any other the
            mean score, which goes first.
        radii: Where certified accuracy or error rates are reported; l2 norm, ascending. 0, 0.5, 1, 1.5 and 2 sigma
            when null.
        enroll_noise: Noise draws at sigma for every enrolment segment, which pays at large sigma; 0 enrols on clean
            speech.
        seed: Seed of all noise.
        batch_size: Noisy copies per forward; `auto` times several, and a run that is continued keeps the one it found.
        accelerator: Where to compute; auto takes CUDA where it is at hand. A run is continued on the same kind only.
            (Apple's MPS has no float64.)
        precision: 32 computes in float32; faster on some devices are `tf32` (products in TF32), `bf16` and 16 (bfloat16
            and float16 where they do). Another precision is another classifier: its radii are its own.
        compile: Embed in code that `torch.compile` generates for batches of one shape; recordings of another length go
            without. `auto` does so where forwards take 10 minutes or more and generated code is faster. Embeddings must
            be those without it, within the probe's tolerance; a run that is continued keeps what it found.
        devices: Processes per node, each with a device of its own; auto takes all.
        num_nodes: Machines; start the same command on each, as Lightning asks.
        log_format: `bar` shows how far the run is; `json` writes lines for what collects logs, of every process.

    Raises:
        ValueError: If a setting is out of range; says which, what is allowed and what was given.
    """

    output_dir: str
    sigma: float
    task: Task = "identification"
    trials: str | None = None
    trials_hash: str | None = None
    num_impostors: int | None = None
    cohort: int | str | None = None
    cohort_nearest: int | None = None
    num_speakers: int | None = None
    enrolled: int | list[str] | None = None
    threshold: float | None = None
    noise_at: NoisePoint = "waveform"
    alpha: float = 1e-3
    num_select: int = 100
    num_estimate: int = 1000
    num_looks: int = 1
    tolerance: float = 0.05
    target_radius: float | None = None
    keep_statistics: bool = False
    embeddings: str | None = None
    num_shards: int = 1
    shard: int = 1
    split: Split = "utterances"
    num_thresholds: int = 64
    rules: list[Rule] = field(default_factory=lambda: ["distribution", "mean", "lipschitz", "vote"])
    radii: list[float] | None = None
    enroll_noise: int = 2
    seed: int = 0
    batch_size: int | Literal["auto"] = "auto"
    accelerator: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Precision = 32
    compile: bool | Literal["auto"] = "auto"
    devices: int | Literal["auto"] = 1
    num_nodes: int = 1
    log_format: LogFormat = "bar"

    def __post_init__(self) -> None:
        check_settings(self)
        if self.task not in get_args(Task):
            raise ValueError(f"task must be one of {', '.join(get_args(Task))}, got {self.task!r}")
        if (self.task == "open_set") != (self.enrolled is not None):
            raise ValueError(f"enrolled must be given for the task open_set and for no other, got {self.enrolled}")
        if self.num_impostors is not None and (self.task != "verification" or self.num_impostors < 1):
            raise ValueError(f"num_impostors must be at least 1, for the task verification, got {self.num_impostors}")
        if self.trials is not None and (self.task != "verification" or self.num_impostors is not None):
            raise ValueError(
                f"trials must be null but for the task verification without num_impostors, got {self.trials!r} "
                f"with task {self.task} and num_impostors {self.num_impostors}"
            )
        if self.trials_hash is not None and self.trials is None:
            raise ValueError(f"trials_hash must be null without trials, got {self.trials_hash!r}")
        self._check_cohort()
        if self.num_speakers is not None and (self.task != "identification" or self.num_speakers < 2):
            raise ValueError(f"num_speakers must be at least 2, for the task identification, got {self.num_speakers}")
        if self.task != "identification" and (self.num_looks > 1 or self.keep_statistics or self.num_shards > 1):
            raise ValueError(
                "num_looks and num_shards must be 1 and keep_statistics false but for the task identification, got "
                f"{self.num_looks}, {self.num_shards} and {self.keep_statistics} with task {self.task}"
            )
        if self.num_looks == 1 and (self.target_radius, self.tolerance) != (None, type(self).tolerance):
            raise ValueError(
                f"target_radius must be null and tolerance {type(self).tolerance} with one look, which comes when all "
                f"samples are drawn, got {self.target_radius} and {self.tolerance}"
            )
        if self.noise_at not in get_args(NoisePoint):
            raise ValueError(f"noise_at must be one of {', '.join(get_args(NoisePoint))}, got {self.noise_at!r}")
        if self.noise_at == "waveform" and self.sigma > LARGEST_SIGMA:
            raise ValueError(f"sigma must be at most {LARGEST_SIGMA} for noise at the waveform, got {self.sigma}")
        check_precision(self.precision)
        if self.compile not in (True, False, "auto"):
            raise ValueError(f"compile must be true, false or auto, got {self.compile!r}")
        if self.log_format not in get_args(LogFormat):
            raise ValueError(f"log_format must be one of {', '.join(get_args(LogFormat))}, got {self.log_format!r}")
        for name, least in (("enroll_noise", 0), ("num_nodes", 1), ("devices", 1)):
            value = getattr(self, name)
            if value != "auto" and value < least:
                raise ValueError(f"{name} must be at least {least}, got {value}")
        if not 1 <= self.num_shards <= self.num_estimate or (self.num_shards > 1 and not self.keep_statistics):
            raise ValueError(
                "num_shards must be in [1, num_estimate], and 1 unless statistics are kept, got "
                f"{self.num_shards} with num_estimate {self.num_estimate} and keep_statistics {self.keep_statistics}"
            )
        if self.num_shards > 1 and (self.num_looks > 1 or "auto" in (self.batch_size, self.compile)):
            raise ValueError(
                "num_looks must be 1, and batch_size and compile the same for all shards, not auto, where num_shards "
                f"is above 1, got num_looks {self.num_looks}, batch_size {self.batch_size} and compile {self.compile}"
            )
        if not 1 <= self.shard <= self.num_shards:
            raise ValueError(f"shard must be in [1, num_shards], got {self.shard} of {self.num_shards}")
        self._check_split()
        if self.radii is not None and not (self.radii and all(0 <= radius < math.inf for radius in self.radii)):
            raise ValueError(f"radii must be one or more finite numbers of at least 0, got {self.radii}")
        falling = any(first >= second for first, second in pairwise(self.report_radii))
        if self.task != "identification" and falling:
            raise ValueError(f"radii must be ascending, for the tasks verification and open_set, got {self.radii}")

    def _check_cohort(self) -> None:
        if self.cohort is not None and self.task != "verification":
            raise ValueError(f"cohort must be null but for the task verification, got {self.cohort!r}")
        if isinstance(self.cohort, int) and self.cohort < 2:
            raise ValueError(f"cohort must be a part of the data or at least 2 speakers, got {self.cohort}")
        if self.cohort_nearest is not None and (self.cohort is None or self.cohort_nearest < 2):
            raise ValueError(
                f"cohort_nearest must be at least 2, beside a cohort, got {self.cohort_nearest} with {self.cohort}"
            )
        if self.threshold is None:
            return
        if self.task == "identification" or (self.cohort is None and not -1 < self.threshold < 1):
            raise ValueError(
                f"threshold must be a cosine in (-1, 1), for the tasks verification and open_set, got {self.threshold}"
            )
        if not math.isfinite(self.threshold):
            raise ValueError(f"threshold must be a finite number beside a cohort, got {self.threshold}")

    def _check_split(self) -> None:
        if self.split not in get_args(Split):
            raise ValueError(f"split must be one of {', '.join(get_args(Split))}, got {self.split!r}")
        if self.split == "utterances":
            return
        if self.task != "identification" or self.num_looks > 1 or self.num_shards > 1:
            raise ValueError(
                "split must be utterances but for the task identification with one look and one shard, got "
                f"{self.split} with task {self.task}, num_looks {self.num_looks} and num_shards {self.num_shards}"
            )
        if len(self.parts) < 2:
            least = 2 * LEAST_PART * self.num_select
            raise ValueError(f"num_estimate must be at least {least} for samples to be split, got {self.num_estimate}")

    @property
    def parts(self) -> list[tuple[int, int]]:
        """The first sample of each part, and the one after its last, when samples are split."""
        number = max(1, self.num_estimate // (LEAST_PART * self.num_select))
        return list(pairwise(self.num_estimate * part // number for part in range(number + 1)))

    @property
    def samples(self) -> tuple[int, int]:
        """The first of the estimation samples that are drawn, and the one after the last."""
        first, stop = (self.num_estimate * part // self.num_shards for part in (self.shard - 1, self.shard))
        return first, stop

    @property
    def report_radii(self) -> list[float]:
        """Radii of the table."""
        return default_radii(self.sigma) if self.radii is None else self.radii
