"""The result of certifying one utterance with one rule: a frozen row that is one line of JSON.

Its statement is the one of Cohen et al. 2019 (Section 3.2.2), with one error probability for the whole row.
"""

import math
from dataclasses import dataclass

from voxcert.rows import Row

ABSTAIN = 0.0
"""Radius of a certificate that abstained; the reason is in `abstained`."""


@dataclass(frozen=True)
class Certificate(Row):
    """One utterance, one rule.

    The promise: with probability at least 1 - alpha over the sampling noise, if the result is not ABSTAIN, the
    smoothed classifier named by the rule returns the same class for every waveform within the radius.

    Attributes:
        utterance: id of the utterance.
        speaker: true speaker, "" if unknown.
        prediction: selected speaker, recorded also when the certificate abstains; "" if nothing was computed.
        rule: name of the rule, which also names the smoothed classifier (`vote`, or else the embedding one).
        radius: l2 norm of the perturbation of what noise enters (a waveform in [-1, 1]); 0.0 when abstained.
        abstained: None, or the reason.
        point_radius: plug-in estimate of what infinitely many samples would give; not a guarantee.
        sigma: standard deviation of the noise.
        alpha: error probability of this certificate.
        num_select: samples that picked the class and the thresholds.
        num_estimate: samples really used for the bound.
        num_forwards: noisy copies that the pass took which all rules share, embedded in it or kept from another.
        seconds: wall-clock time of that pass, without the probe of the encoder that comes before the first one.
        seed: seed of the noise.
        encoder: hash of the encoder, as given by the caller.
        noise_at: where the noise enters: `waveform`, or the representation that all of this row is about.
        waveform_norm: l2 norm of the waveform or representation.
        num_samples: its length, all dimensions counted.
        snr_db: ``20 log10(waveform_norm / radius)``; None if the radius or the norm is 0.
        radius_rms: ``radius / sqrt(num_samples)``, also a lower bound on the certified l-infinity radius.
        point_capped: whether `point_radius` is at most what so few samples can show, so that the truth may be larger.
        grid: the promise holds in floating point, for every waveform whose samples are multiples of this; None for a
            representation, whose sums with noise are rounded.
    """

    utterance: str
    speaker: str
    prediction: str
    rule: str
    radius: float
    abstained: str | None
    point_radius: float
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
    snr_db: float | None = None
    radius_rms: float = 0.0
    point_capped: bool = False
    grid: float | None = None

    @classmethod
    def failed(
        cls,
        utterance: str,
        speaker: str,
        rule: str,
        reason: str,
        *,
        sigma: float,
        alpha: float,
        seed: int,
        encoder: str = "",
        noise_at: str = "waveform",
        grid: float | None = None,
    ) -> "Certificate":
        """Row of an utterance that never reached the encoder, such as an unreadable file."""
        return cls(
            utterance=utterance,
            speaker=speaker,
            prediction="",
            rule=rule,
            radius=ABSTAIN,
            abstained=reason,
            point_radius=0.0,
            sigma=sigma,
            alpha=alpha,
            num_select=0,
            num_estimate=0,
            num_forwards=0,
            seconds=0.0,
            seed=seed,
            encoder=encoder,
            noise_at=noise_at,
            grid=grid,
        )

    @property
    def key(self) -> tuple[str, str]:
        """Utterance and rule."""
        return self.utterance, self.rule

    @property
    def correct(self) -> bool:
        """Whether the prediction is the true speaker, certified or not; False if either is unknown."""
        return self.prediction != "" and self.prediction == self.speaker

    @property
    def certified(self) -> bool:
        """Whether the radius is one of the true speaker."""
        return self.correct and self.abstained is None

    @property
    def certified_radius(self) -> float:
        """The radius within which the true speaker is the answer, 0.0 unless certified."""
        return self.radius if self.certified else 0.0


def signal_to_perturbation_db(waveform_norm: float, radius: float) -> float | None:
    """``20 log10(waveform_norm / radius)``: None where either is 0, for JSON has no infinity."""
    return 20.0 * math.log10(waveform_norm / radius) if waveform_norm > 0.0 and radius > 0.0 else None
