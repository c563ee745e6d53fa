"""The recognizer to deploy: what was certified, answering from as few noisy copies as a safe answer takes.

PREDICT of Cohen et al. 2019, made sequential, for identification and verification; section "The system that is
deployed" of docs/guarantee.md.
"""

import itertools
import secrets
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from voxcert.data.audio import SAMPLE_RATE, crop
from voxcert.encoders.base import prototypes_of
from voxcert.encoders.checkpoint import checkpoint_hash
from voxcert.encoders.loading import encoder_hash, is_checkpoint, load_encoder
from voxcert.evaluation.certification.folder import PROTOTYPES, read_prototypes
from voxcert.evaluation.defence.encoder import DefendedEncoder, denoising, open_purifier, system_id
from voxcert.evaluation.run.folder import read_config
from voxcert.evaluation.run.processes import FilledBatches
from voxcert.evaluation.run.speed import at_precision
from voxcert.smoothing.certificate import Certificate
from voxcert.smoothing.claims import Decision
from voxcert.smoothing.prediction import CLASSIFIERS, Prediction
from voxcert.smoothing.score_certifier import ScoreCertifier
from voxcert.smoothing.validation import require

RUN_SETTINGS = ("sigma", "alpha", "num_select", "num_estimate", "batch_size")
"""Of a certification run, which its deployed system shares."""


class SmoothedRecognizer:
    """Enrolled speakers and the smoothed classifier over them; safe to use from several threads.

    Every answer is that of the smoothed classifier, or None, with probability at least 1 - alpha. So a recording that
    is certified at R gets the certified answer, or None, whatever is added within R to what is heard of it. An
    attacker must not know the noise beforehand: unless a seed is given, it comes from a secret id that every call
    draws anew. The answer carries that id as its `utterance`; it says nothing about later noise.

    Args:
        encoder: Waveform (batch, time) -> unit embedding (batch, dim), in eval mode.
        prototypes: Unit vectors (speakers, dim), of two or more speakers; their device is where everything runs.
        speakers: Names, in the order of `prototypes`.
        sigma: Standard deviation of the noise, waveform amplitude.
        alpha: Probability of an answer that differs from the smoothed classifier's, at most.
        num_select: Samples that pick a candidate.
        num_estimate: Samples that test it, at most.
        batch_size: Noisy copies per forward; answers come after one or more of these.
        classifier: `vote` or `embedding`.
        crop_seconds: Recordings are cut to their middle, or repeated, to this length, as for certificates; None takes
            them whole.
        seed: Of the noise, for answers that can be repeated, in tests; secret noise when None.

    Raises:
        ValueError: As `Certifier`, whose settings these are, or for another classifier.

    Examples:
        >>> import torch
        >>> import voxcert
        >>> tones = 0.1 * torch.sin(torch.arange(16000) * torch.tensor([[0.04], [0.08]]))  # 102 and 204 Hz
        >>> encoder = voxcert.load_encoder("checkpoints/ecapa-mini")
        >>> low, high = encoder(tones).detach()
        >>> settings = {"sigma": 0.01, "num_select": 8, "batch_size": 16, "crop_seconds": 1.0}
        >>> recognizer = voxcert.SmoothedRecognizer(encoder, torch.stack([low, high]), ["low", "high"], **settings)
        >>> recognizer.identify(tones[0]).prediction
        'low'
        >>> recognizer.verify(tones[1], "low", threshold=0.9).accepted
        False
    """

    def __init__(
        self,
        encoder: Callable[[Tensor], Tensor],
        prototypes: Tensor,
        speakers: Sequence[str],
        *,
        sigma: float,
        alpha: float = 1e-3,
        num_select: int = 32,
        num_estimate: int = 1000,
        batch_size: int = 32,
        classifier: str = "vote",
        crop_seconds: float | None = 3.0,
        seed: int | None = None,
    ):
        require("classifier", classifier, f"one of {CLASSIFIERS}", classifier in CLASSIFIERS)
        self.sigma, self.classifier, self.crop_seconds = sigma, classifier, crop_seconds
        self._settings = {
            "sigma": sigma,
            "alpha": alpha,
            "num_select": num_select,
            "num_estimate": num_estimate,
            "batch_size": batch_size,
            "rules": ["vote" if classifier == "vote" else "distribution"],
            "seed": 0 if seed is None else seed,
        }
        self._calls = None if seed is None else itertools.count()
        self._enrolling = threading.Lock()
        self._encoder = encoder
        self._certifier = ScoreCertifier(encoder, prototypes, speakers, **self._settings)

    @classmethod
    def from_run(
        cls,
        folder: str | Path,
        *,
        checkpoint: str | Path | None = None,
        classifier: str = "vote",
        seed: int | None = None,
    ) -> Self:
        """The very system that a certification run was about: encoder, purifier, speakers, sigma, alpha, batch size.

        It computes in the run's precision, and without generated code, whose embeddings are within 1e-4 of these.
        It runs on the CPU; an encoder that was certified on an accelerator differs there in the last digits.

        Args:
            folder: Output folder of `certify`.
            checkpoint: Where its encoder is now, if it has moved.
            classifier: `vote` or `embedding`.
            seed: See `SmoothedRecognizer`.

        Raises:
            ValueError: If the folder holds no such run, its task was the open set, its noise did not enter at the
                waveform, or the encoder is not the one that was certified.
        """
        config, enrolled = read_config(folder) or {}, read_prototypes(folder)
        if not {"noise_at", "checkpoint_hash", *RUN_SETTINGS} <= config.keys() or enrolled is None:
            raise ValueError(
                f"folder must be the folder of a certification run, got {folder} without {PROTOTYPES} or settings"
            )
        if config["noise_at"] != "waveform":
            raise ValueError(f"folder must be of a run with noise at the waveform, got {folder}: {config['noise_at']}")
        if config.get("task") == "open_set":  # whose certificates are about some of these speakers, and about nobody
            raise ValueError(f"folder must be of a run of identification or verification, got {folder}: open_set")
        source = checkpoint or config.get("checkpoint")
        if source is None:
            raise ValueError(f"checkpoint must be given: the run in {folder} had an encoder of random weights")
        purifier = config.get("purifier")
        purifier = None if purifier is None else denoising(open_purifier(purifier), config["sigma"])
        encoder = load_encoder(source)
        own = checkpoint_hash(source) if is_checkpoint(source) else encoder_hash(encoder)
        if (found := system_id(own, purifier)) != config["checkpoint_hash"]:
            raise ValueError(f"checkpoint must be {config['checkpoint_hash']}, which {folder} is about, got {found}")
        system = encoder if purifier is None else DefendedEncoder(purifier, encoder)
        settings = {name: config[name] for name in RUN_SETTINGS}
        crop_seconds = (config.get("data") or {}).get("crop_seconds")
        more = {"classifier": classifier, "crop_seconds": crop_seconds, "seed": seed}
        system = at_precision(system, config.get("precision", 32))
        return cls(FilledBatches(system).eval(), *enrolled, **settings, **more)

    @classmethod
    def from_checkpoint(
        cls,
        source: str | Path,
        enrollment: dict[str, Sequence[Tensor]],
        *,
        sigma: float,
        enroll_noise: int = 2,
        **settings: Any,
    ) -> Self:
        """An encoder with speakers that are enrolled now.

        Args:
            source: As for `load_encoder`.
            enrollment: Name -> waveforms (time,) of two or more speakers.
            sigma: Standard deviation of the noise.
            enroll_noise: Noise draws at sigma for every waveform; 0 enrols on clean speech.
            **settings: See `SmoothedRecognizer`.

        Raises:
            ValueError: As `load_encoder` and `SmoothedRecognizer`, or if a speaker has no waveform.
        """
        encoder, seconds = FilledBatches(load_encoder(source)).eval(), settings.get("crop_seconds", 3.0)
        enrolled = _enrolled(encoder, enrollment, seconds, sigma, enroll_noise)
        return cls(encoder, *enrolled, sigma=sigma, **settings)

    @property
    def speakers(self) -> tuple[str, ...]:
        """Who can be named."""
        return self._certifier.speakers

    def identify(self, waveform: Tensor) -> Prediction:
        """Names the speaker of a recording, or nobody.

        Args:
            waveform: (time,), in [-1, 1], 16 kHz.

        Raises:
            ValueError: If it is not such a tensor.
        """
        return self._certifier.predict(self._cut(waveform), self._call(), self.classifier)

    def verify(self, waveform: Tensor, speaker: str, threshold: float) -> Decision:
        """Accepts or rejects a claim, or does neither.

        Args:
            waveform: As for `identify`.
            speaker: Who is claimed.
            threshold: Smoothed scores from here on are accepted; choose it on other speakers.

        Raises:
            ValueError: If an argument is out of range.
        """
        return self._certifier.decide(self._cut(waveform), speaker, threshold, self._call(), self.classifier)

    def certify(self, waveform: Tensor) -> Certificate:
        """The radius within which the answer of `identify` cannot change; takes all samples. Arguments as there."""
        (row,) = self._certifier.certify(self._cut(waveform), self._call())
        return row

    def enroll(self, speaker: str, waveforms: Sequence[Tensor], *, enroll_noise: int = 2) -> None:
        """Enrols a speaker, or enrols one again. What was certified of others holds on unless this one is nearer.

        Args:
            speaker: Name.
            waveforms: One or more, as for `identify`.
            enroll_noise: Noise draws at sigma for every waveform; 0 enrols on clean speech.

        Raises:
            ValueError: If there is no waveform, or one is not such a tensor.
        """
        new, _ = _enrolled(self._encoder, {speaker: waveforms}, self.crop_seconds, self.sigma, enroll_noise)
        with self._enrolling:  # who is asked meanwhile answers for the speakers before
            before = self._certifier
            kept = [index for index, name in enumerate(before.speakers) if name != speaker]
            prototypes = torch.cat([before.prototypes[kept], new.to(before.prototypes)])
            speakers = [*(before.speakers[index] for index in kept), speaker]
            self._certifier = ScoreCertifier(self._encoder, prototypes, speakers, **self._settings)

    def _cut(self, waveform: Tensor) -> Tensor:
        return _cut(waveform, self.crop_seconds)

    def _call(self) -> str:
        """An id of its own for every call: no two share noise, and without a seed none can be foretold."""
        return secrets.token_hex(16) if self._calls is None else f"call {next(self._calls)}"


def _cut(waveform: Tensor, seconds: float | None) -> Tensor:
    return waveform if seconds is None else crop(waveform, round(seconds * SAMPLE_RATE))


def _enrolled(
    encoder: Callable[[Tensor], Tensor],
    enrollment: dict[str, Sequence[Tensor]],
    crop_seconds: float | None,
    sigma: float,
    enroll_noise: int,
) -> tuple[Tensor, list[str]]:
    empty = sorted(name for name, waveforms in enrollment.items() if not len(waveforms))
    if empty or not enrollment:
        raise ValueError(
            f"enrollment must have a waveform or more for every speaker, got none for {empty or 'anybody'}"
        )
    batches = [
        {"waveform": _cut(waveform, crop_seconds)[None], "speaker": [name]}
        for name, waveforms in enrollment.items()
        for waveform in waveforms
    ]
    noise = {"sigma": sigma, "num_noise": enroll_noise} if enroll_noise else {}
    return prototypes_of(encoder, batches, **noise)
