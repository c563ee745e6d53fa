"""Certifies scores of verification and of the open set: one pass over noisy copies serves all claims and thresholds."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from voxcert.smoothing.certificate import ABSTAIN
from voxcert.smoothing.certified_score import NOTHING_KNOWN, CertifiedScore
from voxcert.smoothing.certifier import Certifier
from voxcert.smoothing.claims import Decision, decided
from voxcert.smoothing.outcome import lower_radius
from voxcert.smoothing.pilot import select
from voxcert.smoothing.prediction import UNUSABLE
from voxcert.smoothing.sampler import ESTIMATE_START
from voxcert.smoothing.scores import ScoreStatistics, ScoreTally, score_bounds
from voxcert.smoothing.statistics import Statistics
from voxcert.smoothing.tally import Tally
from voxcert.smoothing.validation import is_number, require

VERIFIERS = {"embedding": "distribution", "vote": "vote"}
"""Verifier -> the rule that says within which radius a speaker goes on winning, for the open set."""


class ScoreCertifier(Certifier):
    """Bounds on smoothed scores instead of radii; made as a `Certifier` is.

    All `num_estimate` samples are drawn, without looks; what belongs to looks has no effect. The rule `vote` asks for
    the verifier `vote` (median cosine), any other for `embedding` (mean cosine).

    Examples:
        >>> import torch
        >>> from voxcert.smoothing import ScoreCertifier
        >>> def encoder(waveform):  # unit embeddings in the plane: by the sign of the mean
        ...     return torch.nn.functional.one_hot((waveform.mean(dim=1) < 0).long(), 2).float()
        >>> certifier = ScoreCertifier(encoder, torch.eye(2), sigma=0.5, num_estimate=500, batch_size=100)
        >>> tone = torch.full((100,), 0.2)  # the sign turns at an l2 norm of 2
        >>> genuine, impostor = certifier.verify(tone, radii=[0.5], verifiers=["vote"])
        >>> genuine.claim, genuine.lower[0] > 0.9, impostor.claim, impostor.upper[0] < 0.1
        ('0', True, '1', True)
    """

    @property
    def verifiers(self) -> list[str]:
        """The verifiers that the rules ask for."""
        asked = {"vote" if rule == "vote" else "embedding" for rule in self.rules}
        return [verifier for verifier in VERIFIERS if verifier in asked]

    @torch.inference_mode()
    def verify(
        self,
        waveform: torch.Tensor,
        radii: Sequence[float],
        claims: Sequence[str] | None = None,
        utterance: str = "",
        speaker: str = "",
        verifiers: Sequence[str] | None = None,
    ) -> list[CertifiedScore]:
        """Certifies what an attack can make of a waveform's claims.

        Args:
            waveform: (time,), as for `certify`.
            radii: l2 norms, at least 0, ascending.
            claims: enrolled speakers; all by default.
            utterance: id of the utterance; the noise depends on it and on the seed alone.
            speaker: true speaker, copied into the rows.
            verifiers: `embedding` (mean cosine) and `vote` (median cosine); those that the rules ask for by default.

        Returns:
            A row for every claim and verifier.

        Raises:
            ValueError: as `certify`, and for radii, claims or verifiers out of range.
        """
        claims = list(self.speakers if claims is None else claims)
        known = bool(claims) and set(claims) <= set(self.speakers)
        unknown = sorted(set(claims) - set(self.speakers))
        require("claims", unknown or claims, "enrolled speakers, each once", known and len(set(claims)) == len(claims))
        verifiers = self.verifiers if verifiers is None else verifiers
        _check(radii, verifiers)
        seen = self._seen(waveform, utterance, [self.speakers.index(claim) for claim in claims], open_set=False)
        about = self._about(utterance, speaker, radii, open_set=False) | seen.measured
        rows = []
        for verifier in verifiers:
            lower, upper, middle = self._bounds(seen, radii, verifier)
            for claim, *bounds, score in zip(claims, lower, upper, middle, strict=True):
                rows.append(_row(about, claim, verifier, score, *bounds))
        return rows

    @torch.inference_mode()
    def identify_or_reject(
        self,
        waveform: torch.Tensor,
        radii: Sequence[float],
        utterance: str = "",
        speaker: str = "",
        verifiers: Sequence[str] | None = None,
    ) -> list[CertifiedScore]:
        """Certifies the naming of one of the enrolled speakers, or of nobody; arguments and errors as for `verify`.

        The winner is that of the smoothed classifier: by the mean score, or for `vote` by most votes, which need not
        be the largest median. It must go on winning and keep its score: two conditions that must both hold, so each
        may spend all of alpha. Nobody is named above the largest of all upper bounds; there, too, each may spend all
        of alpha.

        Returns:
            A row for every verifier.
        """
        verifiers = self.verifiers if verifiers is None else verifiers
        _check(radii, verifiers)
        seen = self._seen(waveform, utterance, list(range(len(self.speakers))), open_set=True)
        about = self._about(utterance, speaker, radii, open_set=True) | seen.measured
        rows = []
        for verifier in verifiers:
            lower, upper, middle = self._bounds(seen, radii, verifier)
            winner, radius = None, ABSTAIN
            if seen.rivals is not None:
                winner = seen.rivals.pilot.voted if verifier == "vote" else seen.rivals.pilot.predicted
                radius = lower_radius(VERIFIERS[verifier], seen.rivals, seen.alpha)
            claim = "" if winner is None else self.speakers[winner]
            named = np.where(np.asarray(radii) < radius, lower[winner or 0], NOTHING_KNOWN[0])
            rows.append(_row(about, claim, verifier, middle[winner or 0], named, upper.max(axis=0)))
        return rows

    @torch.inference_mode()
    def decide(
        self, waveform: torch.Tensor, claim: str, threshold: float, utterance: str = "", verifier: str = "vote"
    ) -> Decision:
        """Answers a claim as a deployed system does: accepted, rejected or None; see `Decision`.

        Up to `num_estimate` samples are drawn until an answer is safe. Who attacks must not know the noise: give a
        deployed system a secret seed, and every call an id of its own.

        Args:
            waveform: (time,), as for `certify`.
            claim: an enrolled speaker.
            threshold: smoothed scores from here on are accepted; in (-1, 1).
            utterance: id; the noise depends on it and on the seed alone.
            verifier: `embedding` or `vote`.

        Raises:
            ValueError: as `certify`, and for a claim, threshold or verifier out of range.
        """
        require("claim", claim, "an enrolled speaker", claim in self.speakers)
        require("threshold", threshold, "in (-1, 1)", is_number(threshold) and -1.0 < threshold < 1.0)
        require("verifier", verifier, f"one of {list(VERIFIERS)}", verifier in VERIFIERS)
        sampler = self._sampler(waveform, utterance)
        alpha = self._alpha_left(sampler.waveform)
        samples = self._embedder.embed(sampler, ESTIMATE_START, ESTIMATE_START + self.num_estimate)
        prototype = self.prototypes[self.speakers.index(claim)]
        accepted, abstained, score, spent = decided(samples, prototype, threshold, verifier, alpha)
        about = {"utterance": utterance, "claim": claim, "threshold": threshold, "verifier": verifier}
        about |= {"sigma": self.sigma, "alpha": self.alpha, "seed": self.seed}
        return Decision(accepted=accepted, abstained=abstained, score=score, num_forwards=spent, **about)

    def unheard(
        self, utterance: str, speaker: str, claims: Sequence[str], radii: Sequence[float], reason: str, open_set: bool
    ) -> list[CertifiedScore]:
        """Rows of an utterance that never reached the encoder, such as an unreadable file: nothing is known."""
        spent = {"num_select": 0, "num_estimate": 0, "num_forwards": 0, "seconds": 0.0, "failed": reason}
        about = self._about(utterance, speaker, radii, open_set) | spent
        nothing = [np.full(len(radii), bound) for bound in NOTHING_KNOWN]
        return [_row(about, claim, verifier, 0.0, *nothing) for verifier in self.verifiers for claim in claims]

    def _seen(self, waveform: torch.Tensor, utterance: str, claims: list[int], open_set: bool) -> "_Seen":
        """Selects, and estimates from fresh samples."""
        sampler = self._sampler(waveform, utterance)
        start = time.perf_counter()  # what may be probed before is no part of the pass
        alpha = self._alpha_left(sampler.waveform)
        chosen = self._selection(sampler)
        pilot = select(chosen, self.prototypes, self.num_thresholds)
        scores, rivals = None, None
        if pilot is not None:
            tally = ScoreTally(self.prototypes[claims], chosen, self.num_thresholds)
            margins = Tally(self.prototypes, pilot)
            for batch in self._embedder.embed(sampler, ESTIMATE_START, ESTIMATE_START + self.num_estimate):
                tally.add(batch)
                if open_set:
                    margins.add(batch)
            scores = tally.statistics()
            if open_set:
                rivals = margins.statistics(sigma=self.sigma, num_planned=self.num_estimate, num_looks=1, start=0)
        measured = self._measured(sampler, 0 if pilot is None else self.num_estimate, start)
        measured["failed"] = None if scores is not None and scores.finite else UNUSABLE
        return _Seen(scores, rivals, len(claims), alpha, measured)

    def _bounds(self, seen: "_Seen", radii: Sequence[float], verifier: str) -> tuple[np.ndarray, ...]:
        """Lower and upper bounds (claims, radii) and smoothed scores as sampled (claims,)."""
        if seen.measured["failed"] is not None:
            low, high = (np.full((seen.num_claims, len(radii)), bound) for bound in NOTHING_KNOWN)
            return low, high, np.zeros(seen.num_claims)
        scaled = np.asarray(radii, dtype=np.float64) / self.sigma
        middle = seen.scores.means if verifier == "embedding" else seen.scores.medians
        return *score_bounds(seen.scores, scaled, seen.alpha, verifier), middle

    def _about(self, utterance: str, speaker: str, radii: Sequence[float], open_set: bool) -> dict[str, Any]:
        """What all rows of an utterance share and no sample decides."""
        about = {"utterance": utterance, "speaker": speaker, "radii": [float(radius) for radius in radii]}
        return about | {"open_set": open_set, "enrolled": speaker in self.speakers} | self._settings()


@dataclass(frozen=True)
class _Seen:
    """What one pass over the samples of an utterance left, and the alpha that the bounds may spend."""

    scores: ScoreStatistics | None
    rivals: Statistics | None
    num_claims: int
    alpha: float
    measured: dict[str, Any]


def _row(
    about: dict[str, Any], claim: str, verifier: str, score: float, lower: np.ndarray, upper: np.ndarray
) -> CertifiedScore:
    bounds = {"lower": lower.tolist(), "upper": upper.tolist()}
    return CertifiedScore(claim=claim, verifier=verifier, score=float(score), **bounds, **about)


def check_radii(radii: Sequence[float], name: str = "radii") -> None:
    """Raises ValueError unless these are one or more l2 norms, ascending."""
    ascending = len(radii) > 0 and all(map(is_number, radii))
    ascending = ascending and radii[0] >= 0 and np.isfinite(radii).all() and (np.diff(radii) > 0).all()
    require(name, list(radii), "one or more finite numbers of at least 0, ascending", bool(ascending))


def _check(radii: Sequence[float], verifiers: Sequence[str]) -> None:
    check_radii(radii)
    known = len(verifiers) > 0 and set(verifiers) <= VERIFIERS.keys()
    require("verifiers", list(verifiers), f"one or more of {list(VERIFIERS)}", known)
