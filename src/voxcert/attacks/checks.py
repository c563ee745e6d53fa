"""Checks that an attack by gradients means something, before its failure is taken for robustness.

They look for the signs of obfuscated gradients of Athalye et al. 2018 (section 3): shattered, stochastic, vanishing.
"""

import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from voxcert.attacks.budgets import norms, steepest
from voxcert.attacks.call_shape import NoGradientError, check_batch, loss_gradient
from voxcert.attacks.objectives import Margin, Objective

SAME = 1e-5
"""Largest difference of two passes, as a share of the largest score, that counts as rounding."""
VANISHING = 1e-3
"""Smallest first-order effect of a perturbation as loud as the waveform, as a share of the largest score."""
STEPS = (1e-2, 1e-3, 1e-4)
"""Lengths of trial steps down the gradient, as shares of the waveform's norm."""


class GradientWarning(UserWarning):
    """A recognizer whose gradients do not show an attack the way."""


def check_gradients(
    recognizer: Callable[[Tensor], Tensor],
    waveform: Tensor,
    labels: Tensor,
    *,
    objective: Objective | None = None,
    targeted: bool = False,
) -> None:
    """Warns if attacks by gradients would make a recognizer look more robust than it is.

    A `GradientWarning` says that two passes differ (randomised), or for how many waveforms the gradient does not exist,
    is not finite, is zero or vanishes, or that no small step against it lowers the loss. Silence is no proof.

    Args:
        recognizer: Waveform (batch, time) -> scores (batch, speakers), in the mode it will be attacked in.
        waveform: A few genuine waveforms, shape (batch, time), in [-1, 1].
        labels: Shape (batch,), long.
        objective: As in the attack to come; None is `Margin()`.
        targeted: Whether `labels` are targets.
    """
    check_batch(waveform, labels)
    with torch.inference_mode(False), torch.enable_grad():
        findings = _findings(recognizer, waveform.detach().clone(), labels.clone(), objective or Margin(), targeted)
    for finding in findings:
        warnings.warn(f"the recognizer {finding}", GradientWarning, stacklevel=2)


def _findings(
    recognizer: Callable[[Tensor], Tensor], waveform: Tensor, labels: Tensor, objective: Objective, targeted: bool
) -> list[str]:
    findings = []
    with torch.no_grad():
        scores, again = recognizer(waveform), recognizer(waveform)
    randomised = bool((scores - again).abs().max() > SAME * scores.abs().max())
    if randomised:
        findings.append(
            "is randomised (two passes differ): attack its mean with ExpectationOverNoise or "
            "ExpectationOverTransformation"
        )
    try:
        gradient, _ = loss_gradient(recognizer, waveform, labels, objective, targeted)
    except NoGradientError:
        return [*findings, "has no gradient: wrap the step that has none in StraightThrough"]
    size = norms(gradient, "l2")
    effect = size * norms(waveform, "l2") / scores.abs().max()
    finite, zero = size.isfinite(), size == 0
    weak = finite & ~zero & (effect < VANISHING)
    trusted = finite & ~zero & ~weak
    stuck = trusted & ~_descends(recognizer, waveform, labels, gradient, objective, targeted)
    for affected, finding in (
        (~finite, "has gradients that are not finite"),
        (zero, "has gradients of zero: wrap the step that has none in StraightThrough"),
        (weak, "has vanishing gradients: something saturates, attack around it"),
        (stuck & (not randomised), "has gradients that lead nowhere: no small step against them lowers the loss"),
    ):
        if affected.any():
            findings.append(f"{finding} ({int(affected.sum())} of {len(affected)} waveforms)")
    return findings


@torch.no_grad()
def _descends(
    recognizer: Callable[[Tensor], Tensor],
    waveform: Tensor,
    labels: Tensor,
    gradient: Tensor,
    objective: Objective,
    targeted: bool,
) -> Tensor:
    """Whether some small step against the gradient lowers the loss; (batch,) bool."""
    loss = objective.loss(recognizer(waveform), labels, targeted)
    lower = torch.zeros_like(labels, dtype=torch.bool)
    for share in STEPS:
        step = share * norms(waveform, "l2")[:, None] * steepest(gradient, "l2")
        lower |= objective.loss(recognizer(waveform - step), labels, targeted) < loss
    return lower
