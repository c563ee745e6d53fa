"""The hearing margin of one certificate: a frozen row that is one line of JSON.

The step that the study of O'Reilly of certified audio classifiers leaves open: a certified radius beside the global
masking threshold.
"""

import math
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
        encoder: Hash of the encoder.
    """

    utterance: str
    speaker: str
    rule: str
    sigma: float
    radius: float
    norm_bound: float | None
    encoder: str = ""

    @property
    def key(self) -> tuple[str, str]:
        """Utterance and rule."""
        return self.utterance, self.rule

    @property
    def margin_db(self) -> float | None:
        """g: the radius covers every perturbation that stays more than g dB below the masking threshold everywhere.

        Such a perturbation has an l2 norm below ``norm_bound * 10^(-g/20)``, which is the radius. None where there is
        no radius. At or below 0, all that is hidden is covered.
        """
        if self.norm_bound is None or self.radius <= 0:
            return None
        return 20 * math.log10(self.norm_bound / self.radius)
