"""What the deployed classifier answers: a class, or nothing, from finitely many samples.

Algorithm PREDICT of Cohen et al. 2019 made sequential by betting (Waudby-Smith and Ramdas 2023), for votes and for
smoothed embeddings: samples are drawn until the answer is safe.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch

from voxcert.smoothing.betting import FEW_BETS, FEW_WEIGHTS, goal, log_wealth
from voxcert.smoothing.rivals import Rivals
from voxcert.smoothing.validation import require

CLASSIFIERS = ("embedding", "vote")
UNUSABLE = "non-finite or zero embeddings"


@dataclass(frozen=True)
class Prediction:
    """The answer to one waveform: a speaker; in an open set perhaps nobody; or an abstention, "I do not know".

    The promise: with probability at least 1 - alpha over the sampling noise, it is the answer of the smoothed
    classifier, or an abstention. So inside a certified radius it is the certified answer, or an abstention.

    Attributes:
        utterance: id of the utterance.
        prediction: a speaker; None where nobody is named, or nothing is known: the next two say which.
        abstained: None where there is an answer, else why there is none.
        classifier: which smoothed classifier this is about, `embedding` or `vote`.
        sigma: standard deviation of the noise.
        alpha: probability of another answer than the smoothed classifier's, at most.
        num_forwards: samples spent, those that picked the candidate included.
        seed: seed of the noise.
        score: mean cosine with the candidate of the samples that tested it; no guarantee.
        threshold: of an open set, which names nobody whose smoothed score is below; None where it is a closed set.
        nobody: whether the answer is that no enrolled speaker speaks. It is an answer: an abstention is not one.

    Raises:
        ValueError: if it is not exactly one of the three: a speaker, nobody, an abstention.
    """

    utterance: str
    prediction: str | None
    abstained: str | None
    classifier: str
    sigma: float
    alpha: float
    num_forwards: int
    seed: int
    score: float = 0.0
    threshold: float | None = None
    nobody: bool = False

    def __post_init__(self) -> None:
        given = (self.prediction is not None) + self.nobody + (self.abstained is not None)
        require("prediction", self, "a speaker, nobody or an abstention, one of the three", given == 1)


class VoteTest:
    """Does the candidate get more votes than every other class?

    Among the samples that name the candidate or one other class, half are the candidate's if the two are even. The
    strongest other class decides, and it alone: every other one's test would be passed too.

    Args:
        prototypes: (K, dim) float64 unit vectors.
        candidate: class picked from other samples.
    """

    def __init__(self, prototypes: torch.Tensor, candidate: int) -> None:
        self._prototypes, self._candidate = prototypes, candidate
        self._counts = np.zeros(len(prototypes), dtype=np.int64)

    def add(self, embeddings: torch.Tensor) -> None:
        """Adds float64 unit embeddings, shape (batch, dim)."""
        winners = (embeddings @ self._prototypes.T).argmax(dim=1)
        self._counts += torch.bincount(winners, minlength=len(self._counts)).numpy(force=True)

    def safe(self, alpha: float) -> bool:
        """Whether the candidate is shown to win, at level alpha and after any number of looks."""
        others = int(np.delete(self._counts, self._candidate).max())
        return bool(log_wealth(np.array([0.0, 2.0]), np.array([others, self._counts[self._candidate]])) >= goal(alpha))


class EmbeddingTest:
    """Is the mean of every rival's xi positive? Every rival's wealth must reach 1/alpha (intersection-union).

    Args:
        prototypes: (K, dim) float64 unit vectors.
        candidate: class picked from other samples.
    """

    def __init__(self, prototypes: torch.Tensor, candidate: int) -> None:
        self._prototypes, self._rivals = prototypes, Rivals(prototypes, candidate)
        self._log_wealth = prototypes.new_tensor(FEW_WEIGHTS).log().expand(len(prototypes) - 1, -1).clone()

    def add(self, embeddings: torch.Tensor) -> None:
        """Adds float64 unit embeddings, shape (batch, dim)."""
        xi = self._rivals.xi(self._prototypes @ embeddings.T).clamp_(min=-1.0)
        for index, bet in enumerate(FEW_BETS.tolist()):
            self._log_wealth[:, index] += torch.log1p(bet * xi).sum(dim=1)

    def safe(self, alpha: float) -> bool:
        """Whether the candidate is shown to win, at level alpha and after any number of looks."""
        return bool((self._log_wealth.logsumexp(dim=1) >= goal(alpha)).all())


def tested(
    batches: Iterable[torch.Tensor], test: VoteTest | EmbeddingTest, prototype: torch.Tensor, alpha: float
) -> tuple[str | None, float, int]:
    """Adds batch after batch until the candidate is safe.

    Args:
        batches: float64 unit embeddings, (batch, dim) each, of samples that did not pick the candidate.
        test: of the candidate.
        prototype: (dim,) of the candidate.
        alpha: error probability.

    Returns:
        None if the candidate is shown to win, or else why it is not; its mean score; and how many samples that took.
    """
    total, spent = 0.0, 0
    for batch in batches:
        spent += len(batch)
        if not torch.isfinite(batch).all():
            return UNUSABLE, 0.0, spent
        test.add(batch)
        total += float((batch @ prototype).sum())
        if test.safe(alpha):
            return None, total / spent, spent
    return "no class is shown to win", total / spent, spent
