"""A black-box attack that sees decisions alone: a walk along the boundary towards the clean waveform.

HopSkipJump (Chen et al. 2020, algorithm 2), with the l2 and the l-infinity distance; queries of a round are asked
together, and every example spends the same number in a round.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from voxcert.attacks.black_box import BlackBox, draws, noise
from voxcert.attacks.budgets import Norm, norms, steepest, uniform
from voxcert.attacks.call_shape import attack
from voxcert.attacks.objectives import Objective

START_TRIALS = 100
"""Most draws of noise in search of a start."""
STEP_TRIALS = 10
"""Step sizes that are tried in a round, each half of the one before."""
FINEST = 1e-5
"""Smallest relative tolerance of a bisection: less is lost in the rounding of float32."""


@attack
def hop_skip_jump(
    recognizer: Callable[[Tensor], Tensor],
    waveform: Tensor,
    labels: Tensor,
    *,
    norm: Norm = "l2",
    max_queries: int = 25_000,
    start: Tensor | None = None,
    initial_probes: int = 100,
    batch_size: int = 64,
    objective: Objective | None = None,
    targeted: bool = False,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Finds a small perturbation for each example; there is no budget but that of queries.

    Args:
        recognizer: Waveform (batch, time) -> scores (batch, speakers), of which the decision alone is used; need not be
            differentiable.
        waveform: Shape (batch, time), in [-1, 1].
        labels: Shape (batch,), long: the speaker to be taken for if `targeted`, otherwise not to be taken for.
        norm: "linf" or "l2": what is to be small.
        max_queries: Most queries for an utterance.
        start: Waveforms (batch, time) in [-1, 1], on any device, that succeed already; of a targeted attack, speech of
            the target. None draws uniform noise until it succeeds, which for a target it hardly ever does.
        initial_probes: Queries for the first estimate of the boundary's direction; round t has sqrt(t) times as many.
        batch_size: Most rows in the recognizer at once; the result does not depend on it.
        objective: What is attacked; None is closed-set identification, `Margin()`.
        targeted: Whether `labels` are targets.
        generator: Of noise and probes, on the waveform's device; None is seeded 0 on every call.

    Returns:
        Shape (batch, time), in [-1, 1]: the successful example nearest to each waveform, or the waveform itself where
        no start was found.

    Raises:
        ValueError: If a setting or the start is out of range, or the start of another shape.
    """
    if initial_probes < 1 or max_queries < 1:
        raise ValueError(f"initial_probes and max_queries must be at least 1, got {initial_probes} and {max_queries}")
    if start is not None and start.shape != waveform.shape:
        raise ValueError(f"start must have the waveform's shape {tuple(waveform.shape)}, got {tuple(start.shape)}")
    if start is not None and not (peak := float(start.abs().max())) <= 1:
        raise ValueError(f"start must lie in [-1, 1], got a peak of {peak:g}")
    box = BlackBox(recognizer, objective, targeted, batch_size)
    found, spent = _find_start(box, waveform, labels, start, max_queries, generator)
    walks = (found != waveform).any(dim=1)
    if walks.any():
        walk = _Walk(box, waveform[walks], labels[walks], norm, generator)
        found[walks] = walk.run(found[walks], max_queries - spent, initial_probes)
    return found


def _find_start(
    box: BlackBox,
    waveform: Tensor,
    labels: Tensor,
    start: Tensor | None,
    max_queries: int,
    generator: torch.Generator,
) -> tuple[Tensor, int]:
    """Waveforms that succeed, the clean ones if they do or if nothing else does, and the queries spent on each."""
    found, spent = waveform.clone(), 1
    open_rows = (~box.succeeded(waveform[:, None], labels).squeeze(1)).nonzero().squeeze(1)
    while len(open_rows) and spent < min(max_queries, 2 if start is not None else 1 + START_TRIALS):
        zero = torch.zeros_like(waveform[open_rows])
        candidate = uniform(zero, 1.0, "linf", generator) if start is None else start.to(waveform)[open_rows]
        success = box.succeeded(candidate[:, None], labels[open_rows]).squeeze(1)
        found[open_rows[success]] = candidate[success]
        open_rows, spent = open_rows[~success], spent + 1
    return found, spent


class _Walk:
    """The rounds of the attack for examples that have a start."""

    def __init__(self, box: BlackBox, waveform: Tensor, labels: Tensor, norm: Norm, generator: torch.Generator):
        self.box, self.waveform, self.labels = box, waveform, labels
        self.norm, self.generator = norm, generator
        time = waveform.shape[1]
        tolerance = max(time ** (-1.5 if norm == "l2" else -2.0), FINEST)
        self.bisections = math.ceil(-math.log2(tolerance))
        # A probe must be wider than what the bisection leaves between its result and the boundary.
        self.probe_ratio = tolerance * (time**0.5 if norm == "l2" else time)

    def run(self, start: Tensor, max_queries: int, initial_probes: int) -> Tensor:
        """Walks while there are queries for a whole round: (batch, time), the nearest success."""
        best, spent, rounds = start, 0, 0
        if max_queries >= self.bisections:
            best, spent = self.to_boundary(start), self.bisections
        current, width = best, self.probe_ratio * self.distance(start)
        while True:
            rounds += 1
            probes = int(initial_probes * rounds**0.5)
            spent += probes + STEP_TRIALS + self.bisections
            if spent > max_queries:
                return best
            direction = steepest(self.direction(current, width, probes), self.norm)
            moved = self.step(current, direction, self.distance(current) / rounds**0.5)
            width = self.probe_ratio * self.distance(moved)
            current = self.to_boundary(moved)
            nearer = self.distance(current) < self.distance(best)
            best = torch.where(nearer[:, None], current, best)

    def distance(self, candidate: Tensor) -> Tensor:
        """Distance from the clean waveforms, (batch,)."""
        return norms(candidate - self.waveform, self.norm)

    def to_boundary(self, outer: Tensor) -> Tensor:
        """Bisects between the clean waveform and one that succeeds; the result succeeds."""
        low, high = torch.zeros_like(outer[:, :1]), torch.ones_like(outer[:, :1])
        for _ in range(self.bisections):
            middle = (low + high) / 2
            success = self.box.succeeded(self.between(outer, middle)[:, None], self.labels)
            low, high = torch.where(success, low, middle), torch.where(success, middle, high)
        return self.between(outer, high)

    def between(self, outer: Tensor, share: Tensor) -> Tensor:
        """The point at this share of the distance: on the segment, or for l-infinity in the ball nearest to `outer`."""
        change = outer - self.waveform
        if self.norm == "l2":
            return torch.where(share < 1, self.waveform + share * change, outer)
        limit = share * self.distance(outer)[:, None]
        return torch.where(share < 1, self.waveform + change.clamp(-limit, limit), outer)

    def direction(self, current: Tensor, width: Tensor, probes: int) -> Tensor:
        """Estimates the inward normal of the region of success at its boundary, (batch, time)."""
        signed, plain = torch.zeros_like(current), torch.zeros_like(current)
        hits = torch.zeros_like(self.labels)
        for count in draws(probes, len(current), self.box.batch_size):
            unit = torch.nn.functional.normalize(noise(current, count, self.generator), dim=-1)
            probe = (current[:, None] + width[:, None, None] * unit).clamp(-1, 1)
            unit = (probe - current[:, None]) / width[:, None, None]
            success = self.box.succeeded(probe, self.labels)
            sign = 2 * success.to(unit) - 1
            signed += torch.einsum("bk,bkt->bt", sign, unit)
            plain += unit.sum(dim=1)
            hits += success.sum(dim=1)
        balance = ((2 * hits - probes).to(current) / probes)[:, None]  # of whole numbers: 1 is 1 in chunks of any size
        return torch.where(balance.abs() == 1, signed, signed - balance * plain)  # less variance

    def step(self, current: Tensor, direction: Tensor, length: Tensor) -> Tensor:
        """Moves inwards by the longest of several steps that still succeeds; stays where none does."""
        lengths = length[:, None] * 0.5 ** torch.arange(STEP_TRIALS, device=length.device)
        tried = (current[:, None] + lengths[..., None] * direction[:, None]).clamp(-1, 1)
        success = self.box.succeeded(tried, self.labels)
        longest = tried[torch.arange(len(tried), device=tried.device), success.int().argmax(dim=1)]
        return torch.where(success.any(dim=1, keepdim=True), longest, current)
