"""What the deployed system answers: the winner, in an open set if his score is high enough and else nobody; or nothing.

The smoothed classifier of an open set names the winner (by votes, or by the mean embedding) if his smoothed score
reaches the threshold, else nobody. Tests by betting (Waudby-Smith and Ramdas 2023), as `prediction` and `claims`.
"""

from collections.abc import Iterable
from typing import Any

import torch

from voxcert.smoothing.claims import TESTS, ClaimTest
from voxcert.smoothing.prediction import UNUSABLE, EmbeddingTest, VoteTest, tested


def answered(
    batches: Iterable[torch.Tensor],
    prototypes: torch.Tensor,
    candidate: int,
    classifier: str,
    threshold: float | None,
    alpha: float,
) -> dict[str, Any]:
    """Adds batch after batch until an answer is safe.

    Args:
        batches: float64 unit embeddings, (batch, dim) each, of samples that did not pick the candidate.
        prototypes: (K, dim) float64 unit vectors.
        candidate: class picked from other samples.
        classifier: `embedding` or `vote`.
        threshold: of an open set, in (-1, 1); None for a closed one.
        alpha: error probability.

    Returns:
        `nobody`, `abstained` and `score` of a `Prediction`, and `num_samples` that this took. The answer is the
        candidate if it is neither of the first two.
    """
    wins = {"vote": VoteTest, "embedding": EmbeddingTest}[classifier](prototypes, candidate)
    if threshold is None:
        nobody, (abstained, score, spent) = False, tested(batches, wins, prototypes[candidate], alpha)
    else:
        scores = TESTS[classifier](threshold, len(prototypes))
        nobody, abstained, score, spent = named(batches, wins, scores, prototypes, candidate, alpha)
    return {"nobody": nobody, "abstained": abstained, "score": score, "num_samples": spent}


def named(
    batches: Iterable[torch.Tensor],
    wins: VoteTest | EmbeddingTest,
    scores: ClaimTest,
    prototypes: torch.Tensor,
    candidate: int,
    alpha: float,
) -> tuple[bool, str | None, float, int]:
    """Adds batch after batch until the candidate is shown to be named, or nobody is.

    The candidate is named if he is shown to win *and* his score to reach the threshold; nobody if every score is shown
    to stay below. Every test has level alpha / 2. If the smoothed answer is the candidate, the wrong answer "nobody"
    needs the test of his score to fail; if it is nobody, the wrong name needs one of the candidate's two tests to fail,
    always the same one; if it is another speaker, the wrong name needs "wins" to fail, and "nobody" the test of that
    speaker's score: two events, alpha together. So alpha covers every case, however many are enrolled.

    Args:
        batches: float64 unit embeddings, (batch, dim) each, of samples that did not pick the candidate.
        wins: test of the candidate.
        scores: test of all speakers' scores against the threshold.
        prototypes: (K, dim) float64 unit vectors.
        candidate: class picked from other samples.
        alpha: error probability.

    Returns:
        Whether the answer is nobody; why there is no answer, or None; the candidate's mean score; and how many samples
        that took.
    """
    total, spent, half = 0.0, 0, alpha / 2.0
    for batch in batches:
        spent += len(batch)
        if not torch.isfinite(batch).all():
            return False, UNUSABLE, 0.0, spent
        cosines = (batch @ prototypes.T).numpy(force=True)
        wins.add(batch)
        scores.add(cosines)
        total += float(cosines[:, candidate].sum())
        if scores.missed(half).all():
            return True, None, total / spent, spent
        if scores.reached(half)[candidate] and wins.safe(half):
            return False, None, total / spent, spent
    return False, "neither a speaker nor nobody is shown to be the answer", total / spent, spent
