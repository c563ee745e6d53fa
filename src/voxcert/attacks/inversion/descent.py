"""Model inversion: what a network gives away of the speakers that it was trained to name.

Fredrikson et al. 2015 (CCS, Algorithm 1) descend the gradient of a class's cost from a start; Pizzi et al. 2023 (arXiv
2301.03206, Algorithm 2) slide a window over a longer waveform, so that later windows begin with inverted samples.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from voxcert.attacks.call_shape import gradient_through

Cost = Literal["posterior", "log_posterior"]
Model = Callable[[Tensor], Tensor]
"""Points (batch, size) -> log-posteriors (batch, classes), each row by itself."""


@dataclass(frozen=True)
class Descent:
    """How far and how long to descend, and when to stop: the parameters of Algorithm 1.

    Args:
        step_size: Of every step (lambda).
        steps: At most (alpha).
        patience: Stop once the cost is no less than the largest of so many costs before it (beta). The first
            comparison is made when there are so many, the start's among them.
        threshold: Stop at this cost or below (gamma).
        cost: `posterior` is 1 - p_t, as published. `log_posterior` is -log p_t, whose gradient does not vanish where
            p_t does.

    Raises:
        ValueError: If a setting is out of range.
    """

    step_size: float
    steps: int = 1000
    patience: int = 20
    threshold: float = 0.01
    cost: Cost = "posterior"

    def __post_init__(self) -> None:
        if not self.step_size > 0:
            raise ValueError(f"step_size must be above 0, got {self.step_size}")
        for name in ("steps", "patience"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not self.threshold >= 0:
            raise ValueError(f"threshold must be at least 0, got {self.threshold}")
        if self.cost not in ("posterior", "log_posterior"):
            raise ValueError(f"cost must be posterior or log_posterior, got {self.cost!r}")


@dataclass(frozen=True)
class Inverted:
    """What inversion found.

    Attributes:
        points: The best points, start included: shape (batch, size).
        cost: Their costs (batch,); after sliding, those of the last window.
        steps: Made of each, (batch,), of all windows.
    """

    points: Tensor
    cost: Tensor
    steps: Tensor


def invert(model: Model, start: Tensor, targets: Tensor, descent: Descent) -> Inverted:
    """Descends the cost of each row's target class, all rows together (Algorithm 1).

    A row stops by itself, and costs nothing from then on. The network may be any: chunks of waveform to posteriors, or
    the classifier block alone, which inverts d-vectors.

    Args:
        model: Points (batch, size) -> log-posteriors (batch, classes); differentiable, in eval mode.
        start: Where rows begin, shape (batch, size); any amplitude.
        targets: Class of each row, shape (batch,), long.
        descent: Step, stop rules and cost.

    Raises:
        NoGradientError: If the cost has no gradient.
        ValueError: If start and targets do not have these shapes.
    """
    _check(start, targets)
    points, best = start.detach().clone(), start.detach().clone()
    gradient, cost = _gradient(model, points, targets, descent.cost)
    least, steps = cost.clone(), torch.zeros_like(targets)
    recent = cost.new_full((len(start), descent.patience), float("inf"))  # the last costs of every row, in a ring
    recent[:, 0] = cost
    active = torch.arange(len(start), device=start.device)
    for step in range(1, descent.steps + 1):
        points[active] -= descent.step_size * gradient
        gradient, cost = _gradient(model, points[active], targets[active], descent.cost)
        steps[active] = step
        better = cost < least[active]
        least[active[better]], best[active[better]] = cost[better], points[active[better]]
        improving = cost < recent[active].amax(dim=1)  # false for NaN too
        recent[active, step % descent.patience] = cost
        going = improving & ~(cost <= descent.threshold)
        active, gradient = active[going], gradient[going]
        if len(active) == 0:
            break
    return Inverted(best, least, steps)


def sliding_inversion(
    model: Model, start: Tensor, targets: Tensor, descent: Descent, window: int = 3200, stride: int = 500
) -> Inverted:
    """Inverts overlapping windows one after the other, each on what the last one left (Algorithm 2).

    The paper cuts the result "to half the window size", which is read here as half a window less at both ends, where
    samples lie in fewer windows. Its windows are sequential; here the rows, that is speakers, go in parallel.

    Args:
        model: Windows (batch, window) -> log-posteriors (batch, classes).
        start: Waveforms (batch, time) to begin with; two windows of time make one window of result.
        targets: Class of each row, shape (batch,), long.
        descent: Step, stop rules and cost of every window.
        window: Samples of a window (w).
        stride: Samples between the beginnings of two windows (s). Where it is so large that the windows end before the
            result does, one more lies at the end of `start`.

    Returns:
        Waveforms of shape (batch, time - window).

    Raises:
        ValueError: If start is not longer than a window, stride is not in [1, window], or as `invert`.
    """
    _check(start, targets)
    if not 1 <= stride <= window:
        raise ValueError(f"stride must be in [1, {window}], the window, got {stride}")
    if start.shape[1] <= window:
        raise ValueError(f"start must be longer than a window of {window} samples, got {start.shape[1]}")
    waveform, steps = start.detach().clone(), torch.zeros_like(targets)
    half, last = window // 2, start.shape[1] - window
    firsts = list(range(0, last + 1, stride))
    if firsts[-1] + window < half + last:  # the result has samples beyond
        firsts.append(last)
    for first in firsts:
        inverted = invert(model, waveform[:, first : first + window], targets, descent)
        waveform[:, first : first + window] = inverted.points
        steps += inverted.steps
    return Inverted(waveform[:, half : half + last], inverted.cost, steps)


def _gradient(model: Model, points: Tensor, targets: Tensor, cost: Cost) -> tuple[Tensor, Tensor]:
    """Gradients (batch, size) and costs (batch,)."""
    with torch.inference_mode(False), torch.enable_grad():
        points = points.detach().clone().requires_grad_()  # an inference tensor has no place in a graph
        log_posterior = model(points).gather(1, targets.clone()[:, None]).squeeze(1)
        # The gradient of 1 - exp keeps posteriors that expm1's would round to 0.
        costs = -log_posterior if cost == "log_posterior" else 1 - log_posterior.exp()
        return gradient_through("model", costs.sum(), points), costs.detach()


def _check(start: Tensor, targets: Tensor) -> None:
    if start.ndim != 2 or not start.is_floating_point():
        raise ValueError(f"start must be floating point (batch, size), got {start.dtype} {tuple(start.shape)}")
    if targets.shape != start.shape[:1] or targets.dtype != torch.long:
        raise ValueError(f"targets must be long ({len(start)},), got {targets.dtype} {tuple(targets.shape)}")
