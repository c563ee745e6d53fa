"""Answers and certificates in sentences for people who have not read the paper, and how loud a radius sounds."""

import math

import torch
from torch import Tensor

from voxcert.data.audio import SAMPLE_RATE
from voxcert.evaluation.show.tables import ceiled, rounded_down
from voxcert.smoothing.certificate import Certificate
from voxcert.smoothing.prediction import Prediction

AUDIBLE = 0.05
"""Root mean square, of a waveform in [-1, 1], to which a perturbation is raised to be heard alone."""


def answered(answer: Prediction) -> str:
    """An answer in a sentence."""
    drawn = f"It took {answer.num_forwards} noisy copies of the recording."
    if answer.nobody:
        return f"This is **nobody** who is enrolled. {drawn} The best mean cosine was {answer.score:.2f}."
    if answer.prediction is None:
        return f"I do not know who this is ({answer.abstained}). {drawn}"
    return f"This is **{answer.prediction}**. {drawn} The mean cosine with their voice was {answer.score:.2f}."


def promised(certificate: Certificate, open_set: bool = False) -> str:
    """A certificate in sentences: what cannot happen, how loud that is, and how sure it is.

    Args:
        certificate: That this speaker goes on winning.
        open_set: Whether the answer may be nobody as well: nothing is proved about the winner's score.
    """
    if certificate.abstained is not None:
        return f"Nothing is proved about this recording: {certificate.abstained}."
    loudness = "" if certificate.snr_db is None else f" (that is {ceiled(certificate.snr_db, 0)} dB below it)"
    if open_set:
        outcome = f"no other speaker than **{certificate.prediction}** is named for this recording"
    else:
        outcome = f"the answer for this recording is **{certificate.prediction}**, or none"
    return (
        f"Proved: {outcome}, whatever anyone adds to the {certificate.num_samples / SAMPLE_RATE:g} s that are heard, "
        f"as long as its l2 norm is below **{rounded_down(certificate.radius)}**{loudness}. A proof like this fails "
        f"with a probability of at most {certificate.alpha:g}, and so does each answer. "
        f"{certificate.num_forwards} noisy copies were drawn."
    )


def at_radius(waveform: Tensor, radius: float) -> tuple[Tensor, Tensor, float]:
    """White noise whose l2 norm is a radius: added to a waveform, and alone and made audible.

    Args:
        waveform: What is heard, (time,).
        radius: l2 norm, positive.

    Returns:
        The sum; the noise made `AUDIBLE`, clipped to [-1, 1]; and by how many dB it was made louder.
    """
    noise = torch.randn(waveform.shape, generator=torch.Generator().manual_seed(0))
    noise *= radius / noise.norm()
    gain = AUDIBLE * math.sqrt(noise.numel()) / radius
    return waveform + noise, (gain * noise).clamp(-1, 1), 20 * math.log10(gain)
