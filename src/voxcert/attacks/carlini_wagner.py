"""The attack of Carlini and Wagner for the smallest l2 perturbation, on waveforms.

Carlini and Wagner 2017 (section V, eq. (6)): x' = tanh(w) stays in [-1, 1] by itself, and Adam minimises
||x' - x||^2 + c max(margin + kappa, 0), with c found by bisection for each example. Here tanh(w) is corrected by what
shrinking and rounding take off, so that the search begins exactly at x.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from voxcert.attacks.call_shape import attack, gradient_through
from voxcert.attacks.objectives import Objective, check_kappa

SHRINK = 1 - 1e-6
"""Factor of the waveform before atanh, which is infinite at full scale."""
CHECKS, PROGRESS = 10, 0.9999
"""An example is given up in a round when a tenth of its steps leaves more than this share of its loss."""


@attack
def carlini_wagner(
    recognizer: Callable[[Tensor], Tensor],
    waveform: Tensor,
    labels: Tensor,
    *,
    kappa: float = 0.0,
    steps: int = 1000,
    search_steps: int = 9,
    initial_const: float = 1e-3,
    lr: float = 1e-4,
    abort_early: bool = True,
    objective: Objective | None = None,
    targeted: bool = False,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Finds a small l2 perturbation for each example; there is no budget.

    Each of `search_steps` rounds minimises from the clean waveform. The constant c of an example grows tenfold until
    its first success, and is bisected from then on. The rows of a batch do not influence each other.

    Args:
        recognizer: Waveform (batch, time) -> scores (batch, speakers).
        waveform: Shape (batch, time), in [-1, 1].
        labels: Shape (batch,), long: the speaker to be taken for if `targeted`, otherwise not to be taken for.
        kappa: Margin, in scores, by which an example must succeed.
        steps: Most gradient steps of a round.
        search_steps: Rounds.
        initial_const: c of the first round.
        lr: Learning rate of Adam, and so the most that a sample changes in the first steps: it should be no larger than
            the changes looked for, times 10 at most. The usual 1e-2 is for images: in 100 steps on 2 s of speech it
            ends 28 dB louder than 3e-4.
        abort_early: Give an example up for the round when its loss stagnates.
        objective: What is attacked; None is closed-set identification, `Margin()`. Its margin is used, never its loss.
        targeted: Whether `labels` are targets.
        generator: Not used; the attack is deterministic.

    Returns:
        Shape (batch, time), in [-1, 1]: the successful example nearest to each waveform, which is the waveform itself
        where that succeeds by `kappa`; the waveform itself, too, where none was found.

    Raises:
        NoGradientError: If the scores do not depend differentiably on the waveform.
        ValueError: If a setting is out of range.
    """
    for name, value in {"steps": steps, "search_steps": search_steps}.items():
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    for name, value in {"initial_const": initial_const, "lr": lr}.items():
        if not value > 0:
            raise ValueError(f"{name} must be positive, got {value}")
    check_kappa(kappa)

    def hinge(candidate: Tensor) -> tuple[Tensor, Tensor]:
        """Margin above -kappa, and whether the example succeeds by kappa."""
        scores = recognizer(candidate)
        short = objective.margin(scores, labels, targeted) + kappa
        return short.clamp(min=0), objective.succeeded(scores, labels, targeted) & (short <= 0)

    best, best_size = waveform.clone(), torch.full_like(waveform[:, 0], torch.inf)
    const = torch.full_like(best_size, initial_const)
    low, high = torch.zeros_like(const), torch.full_like(const, torch.inf)
    for _ in range(search_steps):
        found, size = _minimise(hinge, waveform, const, steps, lr, abort_early)
        better = size < best_size
        best, best_size = torch.where(better[:, None], found, best), torch.where(better, size, best_size)
        success = size.isfinite()
        low, high = torch.where(success, low, const), torch.where(success, const, high)
        const = torch.where(high.isfinite(), (low + high) / 2, 10 * const)
    return best


def _minimise(
    hinge: Callable[[Tensor], tuple[Tensor, Tensor]],
    waveform: Tensor,
    const: Tensor,
    steps: int,
    lr: float,
    abort_early: bool,
) -> tuple[Tensor, Tensor]:
    """One round: each example's nearest success (batch, time) and its squared distance, inf where there is none."""
    best, best_size = waveform, torch.full_like(const, torch.inf)
    active, previous = torch.ones_like(const, dtype=torch.bool), torch.full_like(const, torch.inf)
    center = torch.atanh(SHRINK * waveform)
    shrunk = waveform - torch.tanh(center)
    change = torch.zeros_like(waveform, requires_grad=True)
    adam = torch.optim.Adam([change], lr=lr)
    for step in range(steps + 1):  # the last pass only judges
        candidate = (torch.tanh(center + change) + shrunk).clamp(-1, 1)
        moved = candidate.detach() - waveform
        size = moved.square().sum(dim=1)
        short, success = hinge(candidate)
        better = active & success & (size < best_size)
        best = torch.where(better[:, None], candidate.detach(), best)
        best_size = torch.where(better, size, best_size)
        if abort_early and step % max(1, steps // CHECKS) == 0:
            loss = size + const * short.detach()
            active &= loss <= PROGRESS * previous
            previous = loss
        if step == steps or not active.any():
            break
        push = gradient_through("recognizer", (const * short).sum(), candidate)
        (change.grad,) = torch.autograd.grad(candidate, change, 2 * moved + push)  # 2 * moved is that of the size
        adam.step()
    return best, best_size
