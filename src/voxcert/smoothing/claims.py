"""What the deployed verifier answers to a claim: accepted, rejected, or nothing, from finitely many samples.

The counterpart of `prediction` for one claim: samples are drawn until one of the two answers is safe, by betting
(Waudby-Smith and Ramdas 2023).
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch

from voxcert.smoothing.betting import FEW_BETS, FEW_WEIGHTS, goal, log_sum, log_wealth
from voxcert.smoothing.prediction import UNUSABLE

UNDECIDED = "neither accepting nor rejecting is shown to be right"


@dataclass(frozen=True)
class Decision:
    """The answer to one claim.

    The promise: with probability at least 1 - alpha over the sampling noise, it is the answer of the smoothed verifier,
    or None. So within a radius at which the claim is certified to stay accepted (or rejected) it is that, or None.

    Attributes:
        utterance: id of the utterance.
        claim: the enrolled speaker who is claimed.
        threshold: smoothed scores from here on are accepted.
        accepted: True, False, or None for "I do not know".
        abstained: None, or the reason.
        score: mean cosine of the samples that were drawn; no guarantee.
        verifier: which smoothed verifier this is about, `embedding` or `vote`.
        sigma: standard deviation of the noise.
        alpha: probability of another answer than the smoothed verifier's, at most.
        num_forwards: samples spent.
        seed: seed of the noise.
    """

    utterance: str
    claim: str
    threshold: float
    accepted: bool | None
    abstained: str | None
    score: float
    verifier: str
    sigma: float
    alpha: float
    num_forwards: int
    seed: int


class ClaimTest(ABC):
    """Do the scores of claims reach a threshold, or do they not? After any number of looks, claim by claim.

    Of one claim at most one of the two answers is wrong, so either may spend all of alpha.
    """

    @abstractmethod
    def add(self, scores: np.ndarray) -> None:
        """Adds cosines, shape (batch, claims)."""

    @abstractmethod
    def reached(self, alpha: float) -> np.ndarray:
        """Which scores are shown to reach the threshold, each at level alpha, (claims,)."""

    @abstractmethod
    def missed(self, alpha: float) -> np.ndarray:
        """Which are shown to stay below it, each at level alpha, (claims,)."""

    def answer(self, alpha: float) -> bool | None:
        """Of a single claim: True or False as soon as it is safe at level alpha."""
        return True if self.reached(alpha).all() else False if self.missed(alpha).all() else None


class MedianTest(ClaimTest):
    """Do more than half of the noisy copies reach the threshold?

    Args:
        threshold: cosine.
        num_claims: scores that are tested at once.
    """

    def __init__(self, threshold: float, num_claims: int = 1) -> None:
        self._threshold = threshold
        self._counts = np.zeros((num_claims, 2), dtype=np.int64)  # below, and from the threshold on

    def add(self, scores: np.ndarray) -> None:
        """Adds cosines, shape (batch, claims)."""
        reached = (scores >= self._threshold).sum(axis=0)
        self._counts += np.stack([len(scores) - reached, reached], axis=1)

    def reached(self, alpha: float) -> np.ndarray:
        """Which medians are shown to reach the threshold."""
        return log_wealth(np.array([0.0, 2.0]), self._counts) >= goal(alpha)

    def missed(self, alpha: float) -> np.ndarray:
        """Which are shown to stay below."""
        return log_wealth(np.array([2.0, 0.0]), self._counts) >= goal(alpha)


class MeanTest(ClaimTest):
    """Does the mean score reach the threshold? A bet on `1 + s` from below and one on `1 - s` from above.

    Args:
        threshold: cosine in (-1, 1).
        num_claims: scores that are tested at once.
    """

    def __init__(self, threshold: float, num_claims: int = 1) -> None:
        self._threshold = threshold
        self._log_wealth = np.tile(np.log(FEW_WEIGHTS), (2, num_claims, 1))

    def add(self, scores: np.ndarray) -> None:
        """Adds cosines, shape (batch, claims)."""
        scores = scores.clip(-1.0, 1.0)[..., None]
        with np.errstate(divide="ignore"):
            for side, ratios in enumerate(((1 + scores) / (1 + self._threshold), (1 - scores) / (1 - self._threshold))):
                self._log_wealth[side] += np.log(1 - FEW_BETS + FEW_BETS * ratios).sum(axis=0)

    def reached(self, alpha: float) -> np.ndarray:
        """Which means are shown to reach the threshold."""
        return log_sum(self._log_wealth[0]) >= goal(alpha)

    def missed(self, alpha: float) -> np.ndarray:
        """Which are shown to stay below."""
        return log_sum(self._log_wealth[1]) >= goal(alpha)


TESTS = {"embedding": MeanTest, "vote": MedianTest}


def decided(
    batches: Iterable[torch.Tensor], prototype: torch.Tensor, threshold: float, verifier: str, alpha: float
) -> tuple[bool | None, str | None, float, int]:
    """Adds batch after batch until the claim is decided.

    Args:
        batches: float64 unit embeddings, (batch, dim) each.
        prototype: (dim,) float64 unit vector of the claimed speaker.
        threshold: cosine in (-1, 1).
        verifier: `embedding` or `vote`.
        alpha: error probability.

    Returns:
        The answer; why there is none, or None; the mean score; and how many samples that took.
    """
    test, total, spent = TESTS[verifier](threshold), 0.0, 0
    for batch in batches:
        spent += len(batch)
        scores = (batch @ prototype).numpy(force=True)
        if not np.isfinite(scores).all():
            return None, UNUSABLE, 0.0, spent
        test.add(scores[:, None])
        total += float(scores.sum())
        if (answer := test.answer(alpha)) is not None:
            return answer, None, total / spent, spent
    return None, UNDECIDED, total / spent, spent
