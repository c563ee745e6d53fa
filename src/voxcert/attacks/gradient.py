"""Attacks that follow the gradient inside a ball: FGSM, BIM and PGD, in the l-infinity and the l2 norm.

Goodfellow et al. 2015, Kurakin et al. 2017 and Madry et al. 2018; the step in the l2 norm is along the normalised
gradient, and every iterate is projected onto the ball and clipped to [-1, 1].
"""

from collections.abc import Callable

import torch
from torch import Tensor

from voxcert.attacks.budgets import Norm, check_step_size, column, project, steepest, uniform
from voxcert.attacks.call_shape import attack, loss_gradient
from voxcert.attacks.objectives import Objective


@attack
def fgsm(
    recognizer: Callable[[Tensor], Tensor],
    waveform: Tensor,
    labels: Tensor,
    *,
    epsilon: float | Tensor,
    norm: Norm = "linf",
    objective: Objective | None = None,
    targeted: bool = False,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Fast gradient sign method: one step of length epsilon (Goodfellow et al. 2015, section 4).

    Args:
        recognizer: Waveform (batch, time) -> scores (batch, speakers).
        waveform: Shape (batch, time), in [-1, 1].
        labels: Shape (batch,), long: the speaker to be taken for if `targeted`, otherwise not to be taken for.
        epsilon: Radius of the ball, waveform amplitude; one number or one per utterance, shape (batch,).
        norm: "linf" or "l2".
        objective: What is attacked; None is closed-set identification, `Margin()`.
        targeted: Whether `labels` are targets.
        generator: Not used; the attack is deterministic.

    Returns:
        Adversarial waveforms (batch, time), in the ball and in [-1, 1].
    """
    gradient, _ = loss_gradient(recognizer, waveform, labels, objective, targeted)
    moved = waveform - column(epsilon, waveform) * steepest(gradient, norm)
    return project(moved, waveform, epsilon, norm)


@attack
def bim(
    recognizer: Callable[[Tensor], Tensor],
    waveform: Tensor,
    labels: Tensor,
    *,
    epsilon: float | Tensor,
    norm: Norm = "linf",
    steps: int = 10,
    objective: Objective | None = None,
    targeted: bool = False,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Basic iterative method: steps of epsilon / steps from the clean waveform (Kurakin et al. 2017, section 2.2).

    Args:
        recognizer: As in `fgsm`.
        waveform: As in `fgsm`.
        labels: As in `fgsm`.
        epsilon: As in `fgsm`.
        norm: As in `fgsm`.
        steps: Gradient steps; 10 in the SSED paper.
        objective: As in `fgsm`.
        targeted: As in `fgsm`.
        generator: Not used; the attack is deterministic.

    Returns:
        Adversarial waveforms (batch, time), in the ball and in [-1, 1].
    """
    return pgd(
        recognizer,
        waveform,
        labels,
        epsilon=epsilon,
        norm=norm,
        steps=steps,
        step_size=column(epsilon, waveform).squeeze(1) / steps,
        random_start=False,
        objective=objective,
        targeted=targeted,
        generator=generator,
    )


@attack
def pgd(
    recognizer: Callable[[Tensor], Tensor],
    waveform: Tensor,
    labels: Tensor,
    *,
    epsilon: float | Tensor,
    norm: Norm = "linf",
    steps: int = 40,
    step_size: float | Tensor | None = None,
    random_start: bool = True,
    restarts: int = 1,
    early_stop: bool = False,
    objective: Objective | None = None,
    targeted: bool = False,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Projected gradient descent (Madry et al. 2018, section 2.1).

    One run returns its last iterate at the price of `steps` forward and backward passes; of several, each example keeps
    the one with the smallest margin, at the price of one more forward pass per run.

    Args:
        recognizer: As in `fgsm`.
        waveform: As in `fgsm`.
        labels: As in `fgsm`.
        epsilon: As in `fgsm`.
        norm: As in `fgsm`.
        steps: Gradient steps of a run.
        step_size: Length of a step in `norm`, waveform amplitude; None is 2.5 epsilon / steps, with which any point of
            the ball can be reached from any other and the boundary be followed.
        random_start: Start uniformly in the ball, instead of at the clean waveform.
        restarts: Runs; more than one makes sense with `random_start`.
        early_stop: An example stays where it first succeeds: the perturbation is smaller than it could be, and the
            attack ends when all have succeeded.
        objective: As in `fgsm`.
        targeted: As in `fgsm`.
        generator: Of the random starts, on the waveform's device; None is seeded 0 on every call.

    Returns:
        Adversarial waveforms (batch, time), in the ball and in [-1, 1].

    Examples:
        >>> import torch
        >>> import voxcert
        >>> tones = 0.1 * torch.sin(torch.arange(16000) * torch.tensor([[0.04], [0.08]]))  # 102 and 204 Hz
        >>> encoder = voxcert.load_encoder("checkpoints/ecapa-mini")
        >>> recognizer = voxcert.enroll(encoder, [{"waveform": tones, "speaker": ["a", "b"]}])
        >>> adversarial = voxcert.attacks.pgd(recognizer, tones, torch.tensor([0, 1]), epsilon=0.01, steps=5)
        >>> recognizer(adversarial).argmax(dim=1)  # each is taken for the other
        tensor([1, 0])
        >>> bool((adversarial - tones).abs().max() < 0.0101)
        True
    """
    if steps < 1 or restarts < 1:
        raise ValueError(f"steps and restarts must be at least 1, got steps={steps}, restarts={restarts}")
    check_step_size(step_size, epsilon)
    step_size = 2.5 * column(epsilon, waveform) / steps if step_size is None else column(step_size, waveform)
    best, best_margin = waveform, torch.full_like(waveform[:, 0], torch.inf)
    for _ in range(restarts):
        current = uniform(waveform, epsilon, norm, generator) if random_start else waveform
        done = torch.zeros_like(labels, dtype=torch.bool)
        for _ in range(steps):
            gradient, scores = loss_gradient(recognizer, current, labels, objective, targeted)
            if early_stop:
                done |= objective.succeeded(scores, labels, targeted)
                if done.all():
                    break
            moved = project(current - step_size * steepest(gradient, norm), waveform, epsilon, norm)
            current = torch.where(done[:, None], current, moved)
        if restarts == 1:
            return current
        with torch.no_grad():
            margin = objective.margin(recognizer(current), labels, targeted)
        better = margin < best_margin
        best, best_margin = torch.where(better[:, None], current, best), torch.where(better, margin, best_margin)
    return best
