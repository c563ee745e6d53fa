"""The terms of SSED's training: how loud a perturbation is, how spread its saliency, and how like the source it sounds.

Yao et al. 2022, eqs. (5) to (8); the speaker loss, eqs. (9) and (10), is the margin of `voxcert.attacks.Margin`.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

NormLoss = Literal["hinge", "literal", "relative"]

SILENCE = 1e-5
"""Power below which speech counts as silent (-50 dB): a crop of a pause does not rule a batch."""


def saliency_loss(saliency: Tensor) -> Tensor:
    """L_f, eqs. (5) and (6): the l2 norm of each saliency, stretched to [0, 1] over its utterance.

    Args:
        saliency: Shape (batch, time).

    Returns:
        Mean over the batch. A constant saliency counts 0, and has no gradient.
    """
    low, high = saliency.amin(dim=-1, keepdim=True), saliency.amax(dim=-1, keepdim=True)
    stretched = (saliency - low) / (high - low).clamp(min=torch.finfo(saliency.dtype).tiny)
    # The norm's gradient at exactly 0 is 0 here; a plain square root's would be infinite.
    return torch.linalg.vector_norm(stretched, dim=-1).mean()


def norm_loss(waveform: Tensor, forged: Tensor, kind: NormLoss, threshold: float = 0.0) -> Tensor:
    """L_norm, in the two readings that the paper allows and one that it does not; mean over the batch.

    As printed, max(x - x', 0)^2 sees only what is subtracted from the waveform ("literal"). The code of the generator
    that the paper compares with has max(|x' - x| - threshold, 0)^2 ("hinge"). What the paper reports is the ratio of
    signal to noise, so that quiet speech should be changed less than loud speech; "relative" is its inverse, the
    power of x' - x over that of x.

    Args:
        waveform: x, shape (batch, time).
        forged: x', shape (batch, time).
        kind: "hinge", "literal" or "relative".
        threshold: Amplitude that costs nothing; "hinge" alone has it.
    """
    perturbation = forged - waveform
    if kind == "literal":
        return (-perturbation).clamp(min=0).square().mean()
    if kind == "hinge":
        return (perturbation.abs() - threshold).clamp(min=0).square().mean()
    power = waveform.square().mean(dim=-1).clamp(min=SILENCE)
    return (perturbation.square().mean(dim=-1) / power).mean()


def angular_loss(embedding: Tensor, source: Tensor) -> Tensor:
    """L_angular, eq. (8): the cosine between embeddings (batch, dim) of forged and source waveforms, batch mean."""
    return F.cosine_similarity(embedding, source, dim=-1, eps=1e-12).mean()
