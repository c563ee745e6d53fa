"""A black-box attack that sees scores: projected descent along gradients estimated from pairs of queries.

The estimate is the natural evolution strategy of Ilyas et al. 2018 (algorithm 1); the attack with momentum is FAKEBOB's
(Chen et al. 2021), whose loss against an open set is `Margin(threshold)`.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from voxcert.attacks.black_box import BlackBox, draws, noise
from voxcert.attacks.budgets import Norm, check_step_size, column, project, steepest
from voxcert.attacks.call_shape import attack
from voxcert.attacks.objectives import Objective

PLATEAU = 5
"""Steps after which an example that has not come nearer halves its step size, as in FAKEBOB."""


def nes_gradient(
    loss: Callable[[Tensor], Tensor],
    waveform: Tensor,
    sigma: float,
    chunks: list[int],
    generator: torch.Generator,
) -> Tensor:
    """Estimates the gradient of E loss(waveform + sigma u), u standard normal, from antithetic pairs.

    The mean of (loss(x + sigma u) - loss(x - sigma u)) u / (2 sigma) over the pairs. For a linear loss it is unbiased,
    with E||estimate||^2 = (1 + (time + 1) / pairs) ||gradient||^2: its cosine with the gradient is about
    sqrt(pairs / (pairs + time + 1)).

    Args:
        loss: Candidates (batch, count, time) -> (batch, count).
        waveform: Shape (batch, time).
        sigma: Standard deviation of the search, waveform amplitude.
        chunks: Numbers of pairs that are asked together.
        generator: Of the directions, on the waveform's device.

    Returns:
        Shape (batch, time).
    """
    total = torch.zeros_like(waveform)
    for count in chunks:
        direction = noise(waveform, count, generator)
        probes = waveform[:, None] + sigma * torch.cat([direction, -direction], dim=1)
        above, below = loss(probes.clamp(-1, 1)).chunk(2, dim=1)  # no system would take a louder waveform
        total += torch.einsum("bk,bkt->bt", above - below, direction)
    return total / (2 * sigma * sum(chunks))


@attack
def nes(
    recognizer: Callable[[Tensor], Tensor],
    waveform: Tensor,
    labels: Tensor,
    *,
    epsilon: float | Tensor,
    norm: Norm = "linf",
    max_queries: int = 50_000,
    num_pairs: int = 25,
    sigma: float = 1e-3,
    step_size: float | Tensor | None = None,
    momentum: float = 0.9,
    batch_size: int = 64,
    objective: Objective | None = None,
    targeted: bool = False,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Projected descent from the clean waveform along estimated gradients, until success or the end of the budget.

    A step costs 2 `num_pairs` + 1 queries. An example stays where it first succeeds, and asks no more.

    Args:
        recognizer: Waveform (batch, time) -> scores (batch, speakers); need not be differentiable.
        waveform: Shape (batch, time), in [-1, 1].
        labels: Shape (batch,), long: the speaker to be taken for if `targeted`, otherwise not to be taken for.
        epsilon: Radius of the ball, waveform amplitude; one number or one per utterance, shape (batch,).
        norm: "linf" or "l2".
        max_queries: Most queries for an utterance.
        num_pairs: Pairs of queries for an estimate.
        sigma: Standard deviation of the search, waveform amplitude.
        step_size: First length of a step in `norm`, waveform amplitude; None is epsilon / 5. Halves on a plateau.
        momentum: Weight of the previous direction in the next one, in [0, 1).
        batch_size: Most rows in the recognizer at once; the result does not depend on it.
        objective: What is attacked; None is closed-set identification, `Margin()`.
        targeted: Whether `labels` are targets.
        generator: Of the directions, on the waveform's device; None is seeded 0 on every call.

    Returns:
        Adversarial waveforms (batch, time), in the ball and in [-1, 1].
    """
    if num_pairs < 1 or max_queries < 2 * num_pairs + 1:
        raise ValueError(
            f"max_queries must allow a step of 2 num_pairs + 1 queries, num_pairs be at least 1, "
            f"got max_queries={max_queries}, num_pairs={num_pairs}"
        )
    if not (sigma > 0 and 0 <= momentum < 1):
        raise ValueError(f"sigma must be positive and momentum lie in [0, 1), got sigma={sigma}, momentum={momentum}")
    check_step_size(step_size, epsilon)
    box = BlackBox(recognizer, objective, targeted, batch_size)
    epsilon = column(epsilon, waveform).squeeze(1).expand(len(waveform))
    step_size = (epsilon / 5 if step_size is None else column(step_size, waveform).squeeze(1)).expand(len(waveform))
    current, velocity, step_size = waveform.clone(), torch.zeros_like(waveform), step_size.clone()
    active, before = torch.arange(len(waveform), device=waveform.device), torch.full_like(step_size, torch.inf)
    for step in range(max_queries // (2 * num_pairs + 1)):
        loss, success = box.judge(current[active, None], labels[active])
        active, loss = active[~success[:, 0]], loss[~success[:, 0], 0]
        if not len(active):
            break
        if step % PLATEAU == 0:
            step_size[active] *= torch.where(loss < before[active], 1.0, 0.5)
            before[active] = loss
        own, own_labels = current[active], labels[active]
        chunks = draws(num_pairs, 2 * len(active), batch_size)
        estimate = nes_gradient(lambda probes, to=own_labels: box.judge(probes, to)[0], own, sigma, chunks, generator)
        velocity[active] = momentum * velocity[active] + (1 - momentum) * estimate
        moved = own - step_size[active, None] * steepest(velocity[active], norm)
        current[active] = project(moved, waveform[active], epsilon[active], norm)
    return current
