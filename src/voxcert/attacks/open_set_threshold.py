"""Estimates the threshold of an open-set system that tells scores and decisions, but not its threshold.

Chen et al. 2021 (FAKEBOB, algorithm 1) raise the best score of an impostor until the system accepts; here every answer
on the way narrows a bracket, and a bisection at its end makes it as narrow as wished.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from voxcert.attacks.black_box import draws
from voxcert.attacks.score_based import nes_gradient


def estimate_threshold(
    recognizer: Callable[[Tensor], Tensor],
    accepts: Callable[[Tensor], Tensor],
    waveform: Tensor,
    *,
    tolerance: float = 1e-3,
    max_queries: int = 10_000,
    num_pairs: int = 25,
    sigma: float = 1e-3,
    step_size: float = 5e-4,
    batch_size: int = 64,
    generator: torch.Generator | None = None,
) -> tuple[float, float]:
    """Brackets the score from which on a speaker is accepted; `Margin(threshold=high)` then attacks the system.

    Args:
        recognizer: Waveform (batch, time) -> scores (batch, speakers).
        accepts: Waveform (batch, time) -> whether the best speaker is accepted, bool (batch,). Asked together with the
            scores: both are one query.
        waveform: One utterance that is rejected, shape (time,), in [-1, 1].
        tolerance: Width of the bracket that is good enough, scores.
        max_queries: Most queries.
        num_pairs: Pairs of queries for a gradient, as in `nes`.
        sigma: Standard deviation of the search, waveform amplitude.
        step_size: Change of every sample in a step, waveform amplitude.
        batch_size: Most rows at once.
        generator: On the waveform's device; None is seeded 0 on every call.

    Returns:
        The highest score that was rejected and the lowest that was accepted, inf if none was.

    Raises:
        ValueError: If the waveform is accepted as it is.
    """
    if waveform.ndim != 1:
        raise ValueError(f"waveform must have shape (time,), got {tuple(waveform.shape)}")
    generator = generator or torch.Generator(waveform.device).manual_seed(0)
    bracket = _Bracket(recognizer, accepts, batch_size)
    current = waveform[None]
    bracket.ask(current[:, None])
    if bracket.low == -math.inf:
        raise ValueError("waveform must be one that the system rejects, got one that it accepts")
    while bracket.high == math.inf and bracket.queries + 2 * num_pairs + 1 <= max_queries:
        gradient = nes_gradient(bracket.ask, current, sigma, draws(num_pairs, 2, batch_size), generator)
        current = (current + step_size * gradient.sign()).clamp(-1, 1)
        bracket.ask(current[:, None])
    while tolerance < bracket.high - bracket.low < math.inf and bracket.queries < max_queries:
        bracket.halve()
    return bracket.low, bracket.high


class _Bracket:
    """The highest rejected and the lowest accepted score so far, and a waveform of either kind."""

    def __init__(self, recognizer: Callable[[Tensor], Tensor], accepts: Callable[[Tensor], Tensor], batch_size: int):
        self.recognizer, self.accepts, self.batch_size = recognizer, accepts, batch_size
        self.low, self.high, self.queries = -math.inf, math.inf, 0
        self.rejected = self.accepted = None

    def ask(self, candidates: Tensor) -> Tensor:
        """The best scores of candidates (1, count, time), (1, count)."""
        return self._answer(candidates[0])[0][None]

    def halve(self) -> None:
        """Asks half-way between the two waveforms; the middle takes the place of the one that it agrees with."""
        middle = (self.rejected + self.accepted) / 2
        if self._answer(middle[None])[1]:
            self.accepted = middle
        else:
            self.rejected = middle

    def _answer(self, waveform: Tensor) -> tuple[Tensor, Tensor]:
        """Best scores of waveforms (count, time) and whether they are accepted, (count,)."""
        with torch.no_grad():
            score = torch.cat([self.recognizer(chunk).amax(dim=1) for chunk in waveform.split(self.batch_size)])
            accepted = torch.cat([self.accepts(chunk) for chunk in waveform.split(self.batch_size)])
        self.queries += len(score)
        highest = score.masked_fill(accepted, -torch.inf).max(dim=0)
        lowest = score.masked_fill(~accepted, torch.inf).min(dim=0)
        if highest.values > self.low:
            self.low, self.rejected = float(highest.values), waveform[highest.indices]
        if lowest.values < self.high:
            self.high, self.accepted = float(lowest.values), waveform[lowest.indices]
        return score, accepted
