"""The recognizer to deploy: what was certified, answering from as few noisy copies as a safe answer takes.

PREDICT of Cohen et al. 2019, made sequential, for identification and verification; section "The system that is
deployed" of docs/guarantee.md.
"""

import itertools
import math
import secrets
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from voxcert.deployment.recordings import enrolled, middle, read
from voxcert.deployment.run import channel_of_run, system_of_run
from voxcert.encoders.loading import load_encoder
from voxcert.evaluation.run.processes import FilledBatches
from voxcert.evaluation.run.speed import Precision, at_precision, check_precision, float32_products
from voxcert.smoothing.certificate import Certificate
from voxcert.smoothing.claims import UNDECIDED, Decision
from voxcert.smoothing.normalization import Cohort, Normalization
from voxcert.smoothing.prediction import CLASSIFIERS, Prediction
from voxcert.smoothing.score_certifier import ScoreCertifier
from voxcert.smoothing.validation import is_number, is_whole, require


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
            them whole. Who is enrolled is heard in pieces of this length.
        open_set: Strangers come too: `identify` then asks for a threshold, always.
        cohort: Normalises the scores of `verify`, and its thresholds; None leaves cosines.
        precision: 32, `tf32`, `bf16` or 16, as `certify` has it; part of what was certified.
        enroll_noise: Noise draws at sigma for every piece of a speaker who is enrolled; 0 enrols on clean speech.
        channel: Which one `read` takes of a file that has several, 0 being the first; their average when None.
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
        open_set: bool = False,
        cohort: Cohort | None = None,
        precision: Precision = 32,
        enroll_noise: int = 2,
        channel: int | None = None,
        seed: int | None = None,
    ):
        require("classifier", classifier, f"one of {CLASSIFIERS}", classifier in CLASSIFIERS)
        check_precision(precision)
        positive = crop_seconds is None or (is_number(crop_seconds) and 0 < crop_seconds < math.inf)
        require("crop_seconds", crop_seconds, "None or a positive number", positive)
        require("enroll_noise", enroll_noise, "a whole number of at least 0", is_whole(enroll_noise))
        require("channel", channel, "None or a whole number of at least 0", channel is None or is_whole(channel))
        self.channel = channel
        self.sigma, self.classifier, self.crop_seconds = sigma, classifier, crop_seconds
        self.open_set, self.cohort, self.precision, self.enroll_noise = open_set, cohort, precision, enroll_noise
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
        self._encoder = at_precision(encoder, precision)
        self._certifier = ScoreCertifier(self._encoder, prototypes, speakers, **self._settings)

    @classmethod
    def from_run(
        cls,
        folder: str | Path,
        *,
        checkpoint: str | Path | None = None,
        classifier: str = "vote",
        channel: int | None = None,
        accelerator: str = "auto",
        seed: int | None = None,
    ) -> Self:
        """The very system that a certification run was about: encoder, purifier, speakers, sigma, alpha, batch size.

        It computes on the run's kind of device and in its precision, reads, hears and enrols as the run did, has its
        cohort, and is an open set of its enrolled speakers if the run was about one. It computes without generated
        code: where the run had such (`compile`), embeddings differ from those that were certified, by at most 1e-4
        where the run compared them.

        Args:
            folder: Output folder of `certify`.
            checkpoint: Where its encoder is now, if it has moved.
            classifier: `vote` or `embedding`.
            channel: Which one `read` takes of a file that has several; the run's when None.
            accelerator: `auto` computes where the run did; `cpu` or `cuda` somewhere else, where the encoder's last
                digits differ from those that were certified.
            seed: See `SmoothedRecognizer`.

        Raises:
            ValueError: If the folder holds no such run, its noise did not enter at the waveform, it did not note how
                recordings are cut, the encoder is not the one that was certified, or the accelerator is not there.
        """
        encoder, prototypes, speakers, settings = system_of_run(folder, checkpoint, accelerator)
        settings["channel"] = channel_of_run(folder) if channel is None else channel
        return cls(encoder, prototypes, speakers, **settings, classifier=classifier, seed=seed)

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
        encoder = FilledBatches(load_encoder(source)).eval()
        seconds, precision = settings.get("crop_seconds", 3.0), settings.get("precision", 32)
        with float32_products(precision):
            known = enrolled(at_precision(encoder, precision), enrollment, seconds, sigma, enroll_noise)
        return cls(encoder, *known, sigma=sigma, enroll_noise=enroll_noise, **settings)

    @property
    def speakers(self) -> tuple[str, ...]:
        """Who can be named."""
        return self._certifier.speakers

    def identify(self, waveform: Tensor, threshold: float | None = None) -> Prediction:
        """Names the speaker of a recording, or abstains; with a threshold it may also answer that it is nobody.

        Args:
            waveform: (time,), in [-1, 1], 16 kHz.
            threshold: For an open set: nobody is named if the winner's smoothed score is below it, a cosine (also where
                a cohort normalises the scores of `verify`); choose it on other speakers. None names somebody always.

        Raises:
            ValueError: If an argument is out of range, or the threshold is missing in an open set.
        """
        if self.open_set and threshold is None:
            raise ValueError("threshold must be a cosine in (-1, 1): strangers come to an open set, got None")
        waveform = self.heard(waveform)
        with float32_products(self.precision):
            return self._certifier.predict(waveform, self._call(), self.classifier, threshold)

    def verify(self, waveform: Tensor, speaker: str, threshold: float) -> Decision:
        """Accepts or rejects a claim, or does neither.

        Args:
            waveform: As for `identify`.
            speaker: Who is claimed.
            threshold: Smoothed scores from here on are accepted; choose it on other speakers. With a cohort it is about
                normalised scores, and so is the `score` of the answer; a claim that no cosine brings there is rejected,
                and one that all bring there accepted, without a sample.

        Raises:
            ValueError: If an argument is out of range.
        """
        certifier = self._certifier  # one for this call, whoever is enrolled meanwhile
        fixed = self._normalization(certifier, speaker)
        require("threshold", threshold, "a finite number", is_number(threshold) and math.isfinite(threshold))
        cosine, waveform = fixed.cosine(threshold), self.heard(waveform)
        if self.cohort is not None and abs(cosine) >= 1.0:
            accepted = True if cosine <= -1.0 else False if cosine > 1.0 else None
            abstained = UNDECIDED if accepted is None else None
            about = {"sigma": self.sigma, "alpha": certifier.alpha, "num_forwards": 0, "seed": certifier.seed}
            return Decision(self._call(), speaker, threshold, accepted, abstained, 0.0, self.classifier, **about)
        with float32_products(self.precision):
            answer = certifier.decide(waveform, speaker, cosine, self._call(), self.classifier)
        return replace(answer, threshold=threshold, score=fixed.normalized(answer.score))

    def certify(self, waveform: Tensor) -> Certificate:
        """The radius within which no other speaker can be named; takes all samples.

        Within it `identify` without a threshold gives the certified name, or None. With a threshold, as in an open set,
        it may also give nobody: nothing is certified of the score. (`voxcert certify --task open_set` certifies that.)
        Arguments as there.
        """
        waveform = self.heard(waveform)
        with float32_products(self.precision):
            (row,) = self._certifier.certify(waveform, self._call())
        return row

    def enroll(self, speaker: str, waveforms: Sequence[Tensor]) -> None:
        """Enrols a speaker, or enrols one again. What was certified of others holds on unless this one is nearer.

        Args:
            speaker: Name.
            waveforms: One or more, as for `identify`.

        Raises:
            ValueError: If there is no waveform, or one is not such a tensor.
        """
        self.add({speaker: self.prototype(waveforms)})

    def prototype(self, waveforms: Sequence[Tensor]) -> Tensor:
        """What `enroll` keeps of a speaker's recordings: a unit vector (dim,). Arguments and errors as there."""
        recordings, device = {"the speaker": waveforms}, self._certifier.device
        with float32_products(self.precision):
            new, _ = enrolled(self._encoder, recordings, self.crop_seconds, self.sigma, self.enroll_noise, device)
        return new[0]

    def add(self, prototypes: Mapping[str, Tensor]) -> None:
        """Enrols speakers by what `prototype` made of them, such as those of an earlier day.

        Args:
            prototypes: Name -> unit vector (dim,); who is enrolled already is enrolled again.

        Raises:
            ValueError: As `SmoothedRecognizer` for prototypes.
        """
        if not prototypes:
            return
        with self._enrolling:  # who is asked meanwhile answers for the speakers before
            before = self._certifier
            kept = [index for index, name in enumerate(before.speakers) if name not in prototypes]
            for name, prototype in prototypes.items():
                shape, wanted = tuple(prototype.shape), tuple(before.prototypes[0].shape)
                require(f"prototype of {name!r}", shape, f"of shape {wanted}", shape == wanted)
            new = torch.stack(list(prototypes.values())).to(before.prototypes)
            speakers = [*(before.speakers[index] for index in kept), *prototypes]
            together = torch.cat([before.prototypes[kept], new])
            self._certifier = ScoreCertifier(self._encoder, together, speakers, **self._settings)

    def _normalization(self, certifier: ScoreCertifier, speaker: str) -> Normalization:
        require("claim", speaker, "an enrolled speaker", speaker in certifier.speakers)
        if self.cohort is None:
            return Normalization()
        return self.cohort.normalization(certifier.prototypes[certifier.speakers.index(speaker)], speaker)

    def heard(self, waveform: Tensor) -> Tensor:
        """What of a recording is heard, and what its radius is about; arguments and errors as for `identify`."""
        return middle(waveform, self.crop_seconds)

    def read(self, path: str | Path, min_seconds: float = 0.1) -> Tensor:
        """A recording as a waveform (time,), of its `channel` where it has several.

        Args:
            path: Audio file.
            min_seconds: Length of the recording, at least.

        Raises:
            AudioError: If it is missing, too short, or cannot be read or used; says why.
        """
        return read(path, self.channel, min_seconds)

    def _call(self) -> str:
        """An id of its own for every call: no two share noise, and without a seed none can be foretold."""
        return secrets.token_hex(16) if self._calls is None else f"call {next(self._calls)}"
