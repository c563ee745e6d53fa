"""Certifies the speaker of a waveform by randomized smoothing: select on some samples, bound on fresh ones, or abstain.

Algorithm CERTIFY of Cohen et al. 2019, for the voting classifier and for the smoothed embeddings of Korzh et al.
2024 alike, with looks at the data that cost no error probability.
"""

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

from voxcert.smoothing.certificate import ABSTAIN, Certificate, signal_to_perturbation_db
from voxcert.smoothing.embedder import Embedder
from voxcert.smoothing.kept_embeddings import KeptEmbeddings
from voxcert.smoothing.open_set import answered
from voxcert.smoothing.outcome import Outcome, alpha_left, judge, lower_radius
from voxcert.smoothing.pilot import Pilot, select
from voxcert.smoothing.prediction import CLASSIFIERS, UNUSABLE, Prediction
from voxcert.smoothing.sampler import ESTIMATE_START, NoisySampler, grid_of
from voxcert.smoothing.statistics import Statistics
from voxcert.smoothing.stopping import settled
from voxcert.smoothing.tally import Tally
from voxcert.smoothing.validation import (
    check_encoder,
    check_prototypes,
    check_settings,
    check_waveform,
    is_number,
    require,
    speaker_names,
)


class Certifier:
    """Turns a waveform into one certificate per rule, from one pass over noisy copies of it.

    What every certificate promises: with probability at least 1 - alpha over the sampling noise, if the result is
    not ABSTAIN, the smoothed classifier named by the rule returns the same class for every waveform within the
    radius. One alpha covers one certificate, all looks included; two rules are two certificates.

    Args:
        encoder: any callable from waveforms (batch, time) to unit embeddings (batch, dim), deterministic; a module
            must be in evaluation mode. It may be a purifier followed by an encoder.
        prototypes: (K, dim) unit vectors, K >= 2; their device is where everything runs.
        speakers: K different names, by default "0" to "K-1".
        sigma: standard deviation of the noise, in units of the waveform.
        alpha: error probability of one certificate.
        num_select: samples that pick the class and the thresholds.
        num_estimate: fresh samples for the bound, at most.
        num_looks: how often the radius is computed, after num_estimate / 2^j samples for j = num_looks - 1 .. 0;
            sampling stops early when going on is not worth it.
        rules: names out of `rules.RULES`.
        batch_size: rows per forward, or "auto" to time powers of two on the first waveform.
        seed: seed of the noise.
        num_thresholds: size of the grid of the `distribution` rule.
        target_radius: a rule that has certified this radius asks for no more samples.
        tolerance: neither does one whose radius would not grow by more than this share (or not above 0) even if
            all remaining samples were as favourable as upper confidence bounds allow. Sampling stops at a look
            where no rule asks for more.
        encoder_id: hash of the encoder, copied into the rows.
        noise_at: what the "waveform" is, copied into the rows: a representation of one can be certified as well.
        kept: where embeddings of noisy copies are kept and taken from, so that another question costs one forward.

    Raises:
        ValueError: if an argument is out of range; names the argument, what is allowed and what was given.

    Examples:
        >>> import torch
        >>> import voxcert
        >>> tones = 0.1 * torch.sin(torch.arange(16000) * torch.tensor([[0.04], [0.08]]))  # 102 and 204 Hz
        >>> encoder = voxcert.load_encoder("checkpoints/ecapa-mini")
        >>> speakers = voxcert.enroll(encoder, [{"waveform": tones, "speaker": ["low", "high"]}])
        >>> settings = {"sigma": 0.01, "rules": ["vote"], "num_select": 8, "num_estimate": 64}
        >>> certifier = voxcert.Certifier(encoder, speakers.prototypes, speakers.speakers, **settings)
        >>> [certificate] = certifier.certify(tones[0], utterance="one")
        >>> certificate.prediction, 0.01 < certificate.radius < 0.02
        ('low', True)
    """

    def __init__(
        self,
        encoder: Callable[[torch.Tensor], torch.Tensor],
        prototypes: torch.Tensor,
        speakers: Sequence[str] | None = None,
        *,
        sigma: float,
        alpha: float = 1e-3,
        num_select: int = 100,
        num_estimate: int = 1000,
        num_looks: int = 1,
        rules: Sequence[str] = ("distribution", "vote"),
        batch_size: int | str = "auto",
        seed: int = 0,
        num_thresholds: int = 64,
        target_radius: float | None = None,
        tolerance: float = 0.05,
        encoder_id: str = "",
        noise_at: str = "waveform",
        kept: KeptEmbeddings | None = None,
    ) -> None:
        check_prototypes(prototypes)
        check_encoder(encoder)
        self.encoder = encoder
        self.prototypes = prototypes.detach().double()
        self._embedder = Embedder(encoder, prototypes.shape[1], batch_size, kept)
        self.speakers = speaker_names(speakers, len(prototypes))
        self.sigma = sigma
        self.alpha = alpha
        self.num_select = num_select
        self.num_estimate = num_estimate
        self.num_looks = num_looks
        self.rules = rules
        self.seed = seed
        self.num_thresholds = num_thresholds
        self.target_radius = target_radius
        self.tolerance = tolerance
        self.encoder_id = encoder_id
        self.noise_at = noise_at
        check_settings(self)
        self.rules = tuple(rules)

    @property
    def device(self) -> torch.device:
        """Where noise is drawn and embeddings are counted: the device of the prototypes."""
        return self.prototypes.device

    @property
    def batch_size(self) -> int | str:
        """Rows per forward; "auto" until the first waveform has settled it."""
        return self._embedder.batch_size

    def certify(self, waveform: torch.Tensor, utterance: str = "", speaker: str = "") -> list[Certificate]:
        """Certifies one waveform.

        Args:
            waveform: (time,), in [-1, 1], finite; rounded to multiples of 2^-20, which 16-bit audio is.
            utterance: id of the utterance; the noise depends on it and on the seed alone.
            speaker: true speaker, copied into the rows.

        Returns:
            One certificate per rule, in the order of the rules.

        Raises:
            ValueError: if the waveform is not one-dimensional, not finite or too large for exact sums, or if the
                encoder does not return one unit embedding of the prototypes' dimension per row, the same in any batch.

        Examples:
            >>> import torch
            >>> from voxcert import Certifier
            >>> def encoder(waveform):  # unit embeddings in the plane: by the sign of the mean
            ...     return torch.nn.functional.one_hot((waveform.mean(dim=1) < 0).long(), 2).float()
            >>> settings = {"sigma": 0.5, "rules": ["vote"], "num_estimate": 200, "batch_size": 100}
            >>> certifier = Certifier(encoder, torch.eye(2), **settings)
            >>> [certificate] = certifier.certify(torch.full((100,), 0.2))  # 2 from where the mean is 0, in l2
            >>> certificate.prediction, 0 < certificate.radius < 2
            ('0', True)
        """
        return self.examine(waveform, utterance, speaker)[0]

    @torch.inference_mode()
    def examine(
        self,
        waveform: torch.Tensor,
        utterance: str = "",
        speaker: str = "",
        samples: tuple[int, int] | None = None,
    ) -> tuple[list[Certificate], Statistics | None]:
        """Certifies one waveform, and returns what is needed to do so again at another alpha (`recertify`).

        Args:
            waveform: as for `certify`.
            utterance: as for `certify`.
            speaker: as for `certify`.
            samples: the first and the last but one of the `num_estimate` samples, for a shard of them; all by default.
                Shards of one utterance, drawn on whatever machines, are put together by `Statistics.merge`.

        Returns:
            The rows, and the statistics; None if the selection samples were unusable.

        Raises:
            ValueError: as `certify`, and if the samples are not in [0, num_estimate].
        """
        first, stop = (0, self.num_estimate) if samples is None else samples
        inside = 0 <= first < stop <= self.num_estimate
        require("samples", samples, f"0 <= first < stop <= num_estimate = {self.num_estimate}", inside)
        sampler = self._sampler(waveform, utterance)
        start = time.perf_counter()  # what may be probed before is no part of the pass
        alpha = self._alpha_left(sampler.waveform)
        pilot = self._select(sampler)
        statistics, radii = self._estimate(sampler, pilot, first, stop, alpha) if pilot else (None, {})
        num_estimate = statistics.num_samples if statistics else 0
        measured = {"utterance": utterance, "speaker": speaker} | self._measured(sampler, num_estimate, start)
        rows = [
            self._row(rule, judge(rule, radii.get(rule, ABSTAIN), pilot, statistics), measured) for rule in self.rules
        ]
        return rows, statistics

    @torch.inference_mode()
    def predict(
        self,
        waveform: torch.Tensor,
        utterance: str = "",
        classifier: str = "embedding",
        threshold: float | None = None,
    ) -> Prediction:
        """Answers as a deployed system does: the smoothed classifier's class, or an abstention; see `Prediction`.

        `num_select` samples pick a candidate; then up to `num_estimate` are drawn until it is safe. Who attacks must
        not know the noise: give a deployed system a secret seed, and every call an id of its own.

        Args:
            waveform: (time,), as for `certify`.
            utterance: id; the noise depends on it and on the seed alone.
            classifier: `embedding` or `vote`.
            threshold: of an open set: nobody is named if the smoothed score of the winner is below; in (-1, 1).

        Raises:
            ValueError: as `certify`, and for another classifier or threshold.
        """
        require("classifier", classifier, f"one of {CLASSIFIERS}", classifier in CLASSIFIERS)
        is_cosine = is_number(threshold) and -1.0 < threshold < 1.0
        require("threshold", threshold, "None or in (-1, 1)", threshold is None or is_cosine)
        sampler = self._sampler(waveform, utterance)
        alpha = self._alpha_left(sampler.waveform)
        pilot = self._select(sampler)
        about = {"utterance": utterance, "classifier": classifier, "threshold": threshold}
        about |= {"sigma": self.sigma, "alpha": self.alpha, "seed": self.seed}
        if pilot is None:
            return Prediction(prediction=None, abstained=UNUSABLE, num_forwards=self.num_select, **about)
        fresh = self._embedder.embed(sampler, ESTIMATE_START, ESTIMATE_START + self.num_estimate)
        candidate = pilot.voted if classifier == "vote" else pilot.predicted
        answer = answered(fresh, self.prototypes, candidate, classifier, threshold, alpha)
        spent = self.num_select + answer.pop("num_samples")
        is_named = answer["abstained"] is None and not answer["nobody"]
        return Prediction(
            prediction=self.speakers[candidate] if is_named else None, num_forwards=spent, **answer, **about
        )

    def failed(self, utterance: str, speaker: str, reason: str) -> list[Certificate]:
        """Rows, one per rule, for an utterance that cannot be certified at all, such as an unreadable file."""
        return [Certificate.failed(utterance, speaker, rule, reason, **self._settings()) for rule in self.rules]

    @property
    def _grid(self) -> float | None:
        return grid_of(self.noise_at)

    def _sampler(self, waveform: torch.Tensor, utterance: str) -> NoisySampler:
        check_encoder(self.encoder)
        check_waveform(waveform)
        waveform = waveform.to(self.device, torch.float32)
        sampler = NoisySampler(waveform, self.sigma, self.seed, utterance, self._grid)
        self._embedder.settle(sampler, limit=max(self.num_select, self.num_estimate))
        return sampler

    def _selection(self, sampler: NoisySampler) -> torch.Tensor:
        """Embeddings of the selection samples, (num_select, dim): few enough to be kept."""
        return torch.cat([batch.clone() for batch in self._embedder.embed(sampler, 0, self.num_select)])

    def _select(self, sampler: NoisySampler) -> Pilot | None:
        """Runs the selection samples and chooses."""
        return select(self._selection(sampler), self.prototypes, self.num_thresholds)

    def _measured(self, sampler: NoisySampler, num_estimate: int, start: float) -> dict[str, Any]:
        """What a pass took that began at `start`, and what it was about, as rows say it."""
        return {
            "num_select": self.num_select,
            "num_estimate": num_estimate,
            "num_forwards": self.num_select + num_estimate,
            "seconds": time.perf_counter() - start,
            "waveform_norm": float(torch.linalg.vector_norm(sampler.waveform.double())),
            "num_samples": len(sampler.waveform),
        }

    def _alpha_left(self, waveform: torch.Tensor) -> float:
        """Alpha, once the draw of all planned estimation samples is paid."""
        return alpha_left(self.alpha, waveform.numel() * self.num_estimate, self.sigma, self._grid)

    def _estimate(
        self, sampler: NoisySampler, pilot: Pilot, first: int, stop: int, alpha: float
    ) -> tuple[Statistics, dict[str, float]]:
        """Runs fresh samples look by look until going on is not worth it; returns the last look's radii."""
        tally, done = Tally(self.prototypes, pilot), first
        planned = {"sigma": self.sigma, "num_planned": self.num_estimate, "num_looks": self.num_looks, "start": first}
        for look in range(self.num_looks):
            goal = first + math.ceil((stop - first) / 2 ** (self.num_looks - 1 - look))
            for batch in self._embedder.embed(sampler, ESTIMATE_START + done, ESTIMATE_START + goal):
                tally.add(batch)
            done, statistics = goal, tally.statistics(**planned)
            radii = {rule: lower_radius(rule, statistics, alpha) for rule in self.rules}
            if not statistics.finite or done == stop:
                break
            if settled(statistics, radii, alpha, self.target_radius, self.tolerance):
                break
        return statistics, radii

    def _row(self, rule: str, outcome: Outcome, measured: dict[str, Any]) -> Certificate:
        return Certificate(
            prediction="" if outcome.prediction is None else self.speakers[outcome.prediction],
            rule=rule,
            radius=outcome.radius,
            abstained=outcome.abstained,
            point_radius=outcome.point_radius,
            point_capped=outcome.point_capped,
            snr_db=signal_to_perturbation_db(measured["waveform_norm"], outcome.radius),
            radius_rms=outcome.radius / math.sqrt(measured["num_samples"]),
            **measured,
            **self._settings(),
        )

    def _settings(self) -> dict[str, Any]:
        return {
            "sigma": self.sigma,
            "alpha": self.alpha,
            "seed": self.seed,
            "encoder": self.encoder_id,
            "noise_at": self.noise_at,
            "grid": self._grid,
        }
