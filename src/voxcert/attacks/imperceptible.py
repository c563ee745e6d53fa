"""A targeted or untargeted attack whose perturbation hides below the masking threshold of the speech.

The two stages of Qin et al. 2019: first success inside an l-infinity ball, then less and less audible at success, by
minimising margin + alpha * masking loss with an alpha that adapts to each example.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from voxcert.attacks.audibility import Audibility
from voxcert.attacks.call_shape import attack
from voxcert.attacks.gradient import pgd
from voxcert.attacks.objectives import Objective, check_kappa

RISE, FALL = 1.05, 0.95
"""Factors of an example's weight after a step at which it succeeds, and at which it does not."""
LIMIT = 1e6
"""Most and, inverted, least weight: an example that succeeds for good would make it infinite."""


@attack
def imperceptible(
    recognizer: Callable[[Tensor], Tensor],
    waveform: Tensor,
    labels: Tensor,
    *,
    epsilon: float | Tensor,
    kappa: float = 0.0,
    steps: int = 40,
    hiding_steps: int = 500,
    lr: float = 1e-4,
    alpha: float = 1.0,
    objective: Objective | None = None,
    targeted: bool = False,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Finds a perturbation that succeeds and is heard as little as possible.

    The first stage is PGD from the clean waveform that stops at success. The second stage starts from it and leaves its
    ball where that is not heard; what is past success by `kappa` is not pushed further. The rows of a batch do not
    influence each other.

    Args:
        recognizer: Waveform (batch, time) -> scores (batch, speakers).
        waveform: Shape (batch, time), in [-1, 1].
        labels: Shape (batch,), long: the speaker to be taken for if `targeted`, otherwise not to be taken for.
        epsilon: Of the first stage alone: largest change of a sample, waveform amplitude; one number or shape (batch,).
        kappa: Margin, in scores, by which an example must succeed.
        steps: Gradient steps of the first stage.
        hiding_steps: Gradient steps of the second stage.
        lr: Learning rate of Adam in the second stage, waveform amplitude.
        alpha: First weight of the masking loss, in scores for as much of it as the first stage leaves.
        objective: What is attacked; None is closed-set identification, `Margin()`. Its margin is used in the second
            stage, its loss in the first.
        targeted: Whether `labels` are targets.
        generator: Not used; the attack is deterministic.

    Returns:
        Shape (batch, time), in [-1, 1]: the successful example with the smallest masking loss, or the waveform itself
        where none was found.
    """
    if hiding_steps < 0:
        raise ValueError(f"hiding_steps must be at least 0, got {hiding_steps}")
    if not (lr > 0 and alpha > 0):
        raise ValueError(f"lr and alpha must be positive, got lr={lr}, alpha={alpha}")
    check_kappa(kappa)
    start = pgd(
        recognizer,
        waveform,
        labels,
        epsilon=epsilon,
        steps=steps,
        random_start=False,
        early_stop=True,
        objective=objective,
        targeted=targeted,
        generator=generator,
    )
    audibility = Audibility(waveform)
    change = (start - waveform).requires_grad_()
    adam = torch.optim.Adam([change], lr=lr)
    weight = alpha / audibility.loss(change).detach().clamp(min=1)  # 1 is 0 dB
    best, best_heard = waveform, torch.full_like(weight, torch.inf)
    for step in range(hiding_steps + 1):  # the last pass only judges
        candidate = (waveform + change).clamp(-1, 1)
        heard = audibility.loss(candidate - waveform)
        scores = recognizer(candidate)
        short = objective.margin(scores, labels, targeted) + kappa
        success = objective.succeeded(scores, labels, targeted) & (short <= 0)
        better = success & (heard < best_heard)
        best = torch.where(better[:, None], candidate.detach(), best)
        best_heard = torch.where(better, heard.detach(), best_heard)
        if step == hiding_steps:
            break
        (change.grad,) = torch.autograd.grad((short.clamp(min=0) + weight * heard).sum(), change)
        adam.step()
        weight = (weight * torch.where(success, RISE, FALL)).clamp(1 / LIMIT, LIMIT)
    return best
