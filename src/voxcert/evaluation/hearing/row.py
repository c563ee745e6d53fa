"""The hearing margin of one certificate: a frozen row that is one line of JSON.

The step that the study of O'Reilly of certified audio classifiers leaves open: a certified radius beside the global
masking threshold.
"""

from dataclasses import dataclass

from voxcert.rows import Row


@dataclass(frozen=True)
class HearingRow(Row):
    """One utterance, one rule.

    Attributes:
        utterance: Id of the utterance.
        speaker: Who speaks.
        rule: Of the certificate.
        sigma: Its smoothing noise.
        radius: Certified l2 radius; 0 unless the utterance is certified for its speaker.
        norm_bound: No perturbation that stays below the masking threshold everywhere has a larger l2 norm
            (`voxcert.attacks.Audibility.norm_bound`); None where the audio could not be read.
        margin_db: g: the radius covers every perturbation that stays more than g dB below the masking threshold
            everywhere, for its l2 norm is below ``norm_bound * 10^(-g/20)``, which is the radius. At or below 0, all
            that is hidden is covered. None where there is no radius.
        encoder: Hash of the encoder.
    """

    utterance: str
    speaker: str
    rule: str
    sigma: float
    radius: float
    norm_bound: float | None
    margin_db: float | None
    encoder: str = ""

    @property
    def key(self) -> tuple[str, str]:
        """Utterance and rule."""
        return self.utterance, self.rule
