"""What an attacker sees who can only ask: scores or decisions, without gradients.

A query is one waveform, as in Ilyas et al. 2018; attacks spend at most `max_queries` per utterance.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from voxcert.attacks.objectives import Objective


@dataclass(frozen=True)
class BlackBox:
    """Asks a recognizer about several candidates for each example.

    Args:
        recognizer: Waveform (batch, time) -> scores (batch, speakers); need not be differentiable.
        objective: What is attacked.
        targeted: Whether labels are targets.
        batch_size: Most rows in the recognizer at once.
    """

    recognizer: Callable[[Tensor], Tensor]
    objective: Objective
    targeted: bool
    batch_size: int

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {self.batch_size}")

    def judge(self, candidates: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Asks once for each of candidates (batch, count, time) with labels (batch,).

        Returns:
            The objective's loss, and whether the decision is the attacker's wish; both (batch, count).
        """
        batch, count, _ = candidates.shape
        with torch.no_grad():
            scores = torch.cat([self.recognizer(chunk) for chunk in candidates.flatten(0, 1).split(self.batch_size)])
        repeated = labels.repeat_interleave(count)
        loss = self.objective.loss(scores, repeated, self.targeted)
        success = self.objective.succeeded(scores, repeated, self.targeted)
        return loss.unflatten(0, (batch, count)), success.unflatten(0, (batch, count))

    def succeeded(self, candidates: Tensor, labels: Tensor) -> Tensor:
        """The decisions of `judge` alone, for an attacker who sees no scores."""
        return self.judge(candidates, labels)[1]


def draws(count: int, rows: int, batch_size: int) -> list[int]:
    """Splits `count` draws, each of `rows` rows, into groups of about `batch_size` rows (but at least one draw)."""
    size = max(1, batch_size // max(1, rows))
    return [min(size, count - start) for start in range(0, count, size)]


def noise(waveform: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Draws standard normal noise (batch, count, time), one draw after the other: chunks do not change it."""
    one = {"generator": generator, "device": waveform.device, "dtype": waveform.dtype}
    return torch.stack([torch.randn(waveform.shape, **one) for _ in range(count)], dim=1)
