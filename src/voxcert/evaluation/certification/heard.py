"""Whether a waveform at hand is the one that was certified: radii of one crop say nothing about another."""

import math

from torch import Tensor

from voxcert.smoothing.certificate import Certificate
from voxcert.smoothing.certified_score import CertifiedScore

ROUNDING = 1e-4
"""Norms of one waveform differ by no larger share where sums were taken in another order."""


def check_heard(row: Certificate | CertifiedScore, waveform: Tensor) -> None:
    """Refuses a waveform that is not the one that a row is about, by its length and its norm.

    Args:
        row: With noise at the waveform; one that could not be read is about none.
        waveform: Shape (time,).

    Raises:
        ValueError: If it is another recording, or another stretch of it.
    """
    norm = float(waveform.double().norm())
    if row.num_samples and not (
        len(waveform) == row.num_samples and math.isclose(norm, row.waveform_norm, rel_tol=ROUNDING)
    ):
        raise ValueError(
            f"data must have {row.utterance} as it was certified, {row.num_samples} samples with a norm of "
            f"{row.waveform_norm:.4g}, got {len(waveform)} with {norm:.4g} (data.crop_seconds must be that of the run)"
        )
