"""What an attack wants of the scores: to be taken for another speaker, for nobody, or past a verification threshold.

Margins follow the speaker loss of Yao et al. 2022 (SSED, eqs. (1), (2), (9), (10)) and its mirror for untargeted
attacks; every margin is negative exactly when the attack has succeeded, up to ties.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

REJECTED = -1
"""The label of nobody: of an impostor's utterance, and the decision of an open-set system that rejects."""


class Objective(ABC):
    """What an attack minimises, and when it has succeeded.

    All methods take scores (batch, speakers), higher for a better match; labels (batch,) long: the speaker to be taken
    for if `targeted`, otherwise the speaker not to be taken for. They return one value per example, shape (batch,).
    """

    @abstractmethod
    def margin(self, scores: Tensor, labels: Tensor, targeted: bool) -> Tensor:
        """How far the scores are from success: positive before it, negative after it."""

    @abstractmethod
    def succeeded(self, scores: Tensor, labels: Tensor, targeted: bool) -> Tensor:
        """Whether the system now decides as the attacker wants, ties included; bool."""

    def loss(self, scores: Tensor, labels: Tensor, targeted: bool) -> Tensor:
        """What a gradient attack minimises: the margin, unless a subclass knows better."""
        return self.margin(scores, labels, targeted)


@dataclass(frozen=True)
class Margin(Objective):
    """Identification by the best score, attacked through the difference of scores.

    The decision is the best-scoring speaker (closed set) or, with a threshold, nobody if the best score is below it
    (open set). A rejection is one more candidate with the constant score `threshold`, which makes an untargeted attack
    succeed by a rejection too, and lets labels be `REJECTED`: an impostor to be taken for anyone, or a voice to be
    rejected.

    Args:
        threshold: Score that the best speaker must reach in an open set; None is the closed set.
    """

    threshold: float | None = None

    def __post_init__(self) -> None:
        if self.threshold is not None and not math.isfinite(self.threshold):
            raise ValueError(f"threshold must be finite or None, got {self.threshold}")

    def margin(self, scores: Tensor, labels: Tensor, targeted: bool) -> Tensor:
        """Best other score minus the label's if targeted; otherwise the label's minus the best other."""
        candidates, index = self._candidates(scores, labels)
        own = candidates.gather(1, index).squeeze(1)
        other = candidates.scatter(1, index, -torch.inf).amax(dim=1)
        return other - own if targeted else own - other

    def succeeded(self, scores: Tensor, labels: Tensor, targeted: bool) -> Tensor:
        """Whether the decision is the label if targeted; otherwise whether it is not."""
        candidates, index = self._candidates(scores, labels)
        return (candidates.argmax(dim=1) == index.squeeze(1)) == targeted

    def _candidates(self, scores: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Scores with a last column for rejection in an open set, and labels as column indices (batch, 1)."""
        if self.threshold is not None:
            scores = torch.cat([scores, torch.full_like(scores[:, :1], self.threshold)], dim=1)
            labels = torch.where(labels == REJECTED, scores.shape[1] - 1, labels)
        if scores.shape[1] < 2:
            raise ValueError(
                "scores must be of at least 2 speakers to identify one, got 1; one claim is `Verification`"
            )
        check_labels(labels, scores.shape[1])
        return scores, labels[:, None]


@dataclass(frozen=True)
class CrossEntropy(Margin):
    """Identification attacked through the cross entropy of softmax(scale * scores).

    Args:
        threshold: As in `Margin`.
        scale: Factor of the scores. Cosines need one of 10 to 30, or the softmax is flat; scores that are
            log-probabilities need 1.
    """

    scale: float = 30.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.scale > 0:
            raise ValueError(f"scale must be positive, got {self.scale}")

    def loss(self, scores: Tensor, labels: Tensor, targeted: bool) -> Tensor:
        """Cross entropy with the label if targeted, otherwise its negative."""
        candidates, index = self._candidates(scores, labels)
        loss = F.cross_entropy(self.scale * candidates, index.squeeze(1), reduction="none")
        return loss if targeted else -loss


@dataclass(frozen=True)
class Verification(Objective):
    """Verification of the claim to be the speaker in `labels`, accepted from a threshold on.

    Targeted attacks want the claim accepted (an impostor's trial), untargeted ones want it rejected (a true speaker's).

    Args:
        threshold: Least score that is accepted.
    """

    threshold: float

    def margin(self, scores: Tensor, labels: Tensor, targeted: bool) -> Tensor:
        """Threshold minus the claimed speaker's score if targeted, otherwise its negative."""
        margin = self.threshold - self._claimed(scores, labels)
        return margin if targeted else -margin

    def succeeded(self, scores: Tensor, labels: Tensor, targeted: bool) -> Tensor:
        """Whether the claim is accepted if targeted, otherwise whether it is rejected."""
        return (self._claimed(scores, labels) >= self.threshold) == targeted

    def _claimed(self, scores: Tensor, labels: Tensor) -> Tensor:
        check_labels(labels, scores.shape[1])
        return scores.gather(1, labels[:, None]).squeeze(1)


def check_kappa(kappa: float) -> None:
    """Raises ValueError if a margin of success is negative: attacks would end before they succeed."""
    if not kappa >= 0:
        raise ValueError(f"kappa must be at least 0, got {kappa}")


def check_labels(labels: Tensor, num_candidates: int) -> None:
    """Raises ValueError unless all labels index one of `num_candidates` columns."""
    if labels.numel() and not 0 <= int(labels.min()) <= int(labels.max()) < num_candidates:
        raise ValueError(
            f"labels must lie in [0, {num_candidates}) ({REJECTED} for nobody needs an objective with a threshold on "
            f"identification), got {sorted(set(labels.tolist()))}"
        )
