"""What is certified of a claim: how far an attack can move its smoothed score. A frozen row, one line of JSON."""

import math
from dataclasses import dataclass

from voxcert.rows import Row
from voxcert.smoothing.normalization import Normalization

NOTHING_KNOWN = (-1.0, 1.0)
"""Bounds that always hold, for a cosine."""


@dataclass(frozen=True)
class CertifiedScore(Row):
    """One utterance, one claim, one verifier; or, in an open set, one utterance and whoever it is taken for.

    The promise, for each radius by itself: with probability at least 1 - alpha over the sampling noise, the smoothed
    score of the claim is at least `lower` for every waveform within the radius, so that it is accepted at every
    threshold up to there; and with probability at least 1 - alpha it is at most `upper`, so that it is rejected at
    every threshold above. In an open set, `lower` is that of the winner, -1 where it is not certified to go on
    winning, and `upper` is the largest of all speakers' (no speaker is named at a threshold above).

    Attributes:
        utterance: id of the utterance.
        speaker: who speaks, "" if unknown.
        claim: the enrolled speaker who is claimed, or in an open set the one who wins; "" if nothing was computed. In
            a list of trials it may be an enrolled recording.
        verifier: `embedding`, whose smoothed score is the mean cosine, or `vote`, with the median.
        open_set: whether this is about the naming of any enrolled speaker or nobody.
        enrolled: whether the true speaker is among those that could be named.
        score: the smoothed score as sampled; no guarantee.
        radii: l2 norms, ascending.
        lower: one bound for each radius, in [-1, 1].
        upper: one bound for each radius, in [-1, 1].
        failed: None, or why nothing is known.
        sigma: standard deviation of the noise.
        alpha: error probability of each bound.
        num_select: samples that placed the thresholds.
        num_estimate: samples that the bounds are made of.
        num_forwards: noisy copies that the pass took which all claims of the utterance share, embedded in it or kept.
        seconds: wall-clock time of that pass, without the probe of the encoder that comes before the first one.
        seed: seed of the noise.
        encoder: hash of the encoder, as given by the caller.
        noise_at: where the noise enters.
        waveform_norm: l2 norm of the waveform or representation.
        num_samples: its length, all dimensions counted.
        grid: as in `Certificate`.
        voice: who speaks in the claim, where that is a recording; else "".
        norm_mean: of the scores of the claim and a cohort; see `normalized`.
        norm_deviation: standard deviation of these scores. `score`, `lower` and `upper` are cosines all the same.
    """

    utterance: str
    speaker: str
    claim: str
    verifier: str
    open_set: bool
    enrolled: bool
    score: float
    radii: list[float]
    lower: list[float]
    upper: list[float]
    failed: str | None
    sigma: float
    alpha: float
    num_select: int
    num_estimate: int
    num_forwards: int
    seconds: float
    seed: int
    encoder: str = ""
    noise_at: str = "waveform"
    waveform_norm: float = 0.0
    num_samples: int = 0
    grid: float | None = None
    voice: str = ""
    norm_mean: float = 0.0
    norm_deviation: float = 1.0

    @property
    def key(self) -> tuple[str, str, str]:
        """Utterance, claim and verifier; in an open set the claim is not known beforehand."""
        return self.utterance, "" if self.open_set else self.claim, self.verifier

    @property
    def target(self) -> bool:
        """Whether the right answer is to accept: the claim is true, or in an open set the speaker is enrolled."""
        return self.enrolled if self.open_set else self._right_voice

    @property
    def _right_voice(self) -> bool:
        return (self.voice or self.claim) == self.speaker

    def bound(self, index: int) -> float:
        """The bound that this trial's error depends on, at a radius by its index: below it if a target, else above.

        It is normalised. Where nothing is known, or a target is not who is named in an open set, this is an error at
        every threshold: -inf of a target, inf of others.
        """
        return self._or_error(self.lower[index] if self.target else self.upper[index])

    def sampled(self) -> float:
        """The normalised score as sampled: no guarantee. An error as in `bound`, where that is one in any case."""
        return self._or_error(self.score)

    def _or_error(self, cosine: float) -> float:
        if self.failed is not None or (self.target and not self._right_voice):
            return -math.inf if self.target else math.inf
        return self.normalized(cosine)

    def normalized(self, score: float) -> float:
        """A score of this claim as thresholds see it; rising and affine, so bounds on one are bounds on the other."""
        return Normalization(self.norm_mean, self.norm_deviation).normalized(score)
