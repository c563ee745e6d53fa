"""Losses of the encoder's training: additive angular margin softmax (Deng et al. 2019, arXiv 1801.07698) and two
regularisers that make predictions agree under noise.
"""

import math
from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from voxcert.training.finite import check_at_least_0, check_positive


class AngularMarginSoftmax(nn.Module):
    """Additive angular margin softmax: cross-entropy of `scale * cos(angle + margin)` for the true class.

    Args:
        dim: Size of the embedding.
        num_classes: Training classes.
        margin: Added to the angle of the true class, radians; an attribute, so that a schedule may change it.
        scale: Factor of the cosines.
    """

    def __init__(self, dim: int, num_classes: int, margin: float = 0.2, scale: float = 30.0):
        super().__init__()
        if num_classes < 2:
            raise ValueError(f"num_classes must be at least 2, got {num_classes}")
        if not 0 <= margin < math.pi / 2:
            raise ValueError(f"margin must be in [0, pi/2), got {margin}")
        check_positive("scale", scale)
        self.weight = nn.Parameter(F.normalize(torch.randn(num_classes, dim), dim=-1))
        self.margin = margin
        self.scale = scale

    def logits(self, embedding: Tensor) -> Tensor:
        """Scaled cosines to the class centres without margin: (..., dim) -> (..., num_classes), float32.

        Also under autocast: bf16 has no number between 0.996 and 1, and the loss takes the arc cosine.
        """
        with torch.autocast(embedding.device.type, enabled=False):
            return self.scale * embedding.float() @ F.normalize(self.weight.float(), dim=-1).T

    def forward(self, logits: Tensor, label: Tensor) -> Tensor:
        """Computes the mean loss.

        Args:
            logits: What `logits` returned, shape (batch, num_classes).
            label: Class indices, shape (batch,).
        """
        cosine = (logits.gather(1, label[:, None]) / self.scale).clamp(-1 + 1e-6, 1 - 1e-6)
        shifted = torch.cos(torch.acos(cosine) + self.margin)
        # Past pi - margin the cosine would rise again; continue with a line that keeps the loss monotone.
        linear = cosine - math.sin(math.pi - self.margin) * self.margin
        with_margin = torch.where(cosine > math.cos(math.pi - self.margin), shifted, linear)
        return F.cross_entropy(logits.scatter(1, label[:, None], self.scale * with_margin), label)


class Regularizer(nn.Module, ABC):
    """A term that asks predictions on several noisy views of one example to agree."""

    needs_clean_view = False

    @abstractmethod
    def forward(self, logits: Tensor) -> Tensor:
        """Computes the term from logits (views, batch, classes); view 0 is clean where `needs_clean_view`."""


class Consistency(Regularizer):
    """Consistency regularisation of smoothed classifiers (Jeong and Shin 2020, arXiv 2006.04062, eq. 7).

    `weight * mean_i KL(mean prediction || prediction_i) + entropy_weight * entropy(mean prediction)`.

    Args:
        weight: Factor of the divergence (lambda in the paper).
        entropy_weight: Factor of the entropy (eta in the paper).
    """

    def __init__(self, weight: float = 10.0, entropy_weight: float = 0.5):
        super().__init__()
        check_at_least_0("weight", weight)
        check_at_least_0("entropy_weight", entropy_weight)
        self.weight, self.entropy_weight = weight, entropy_weight

    def forward(self, logits: Tensor) -> Tensor:
        """Computes the term from logits (views, batch, classes), all views noisy."""
        log_prediction = F.log_softmax(logits, dim=-1)
        mean = log_prediction.exp().mean(dim=0)
        log_mean = mean.clamp_min(1e-12).log()
        divergence = (mean * (log_mean - log_prediction)).sum(dim=-1).mean()
        entropy = -(mean * log_mean).sum(dim=-1).mean()
        return self.weight * divergence + self.entropy_weight * entropy


class Stability(Regularizer):
    """Stability training (Zheng et al. 2016, arXiv 1604.04326; Li et al. 2019, arXiv 1809.03113).

    `weight * KL(clean prediction || noisy prediction)`, averaged over the noisy views; the classification loss sees the
    clean view alone.

    Args:
        weight: Factor of the divergence.
    """

    needs_clean_view = True

    def __init__(self, weight: float = 1.0):
        super().__init__()
        check_at_least_0("weight", weight)
        self.weight = weight

    def forward(self, logits: Tensor) -> Tensor:
        """Computes the term from logits (views, batch, classes), view 0 clean."""
        log_prediction = F.log_softmax(logits, dim=-1)
        clean, noisy = log_prediction[:1], log_prediction[1:]
        return self.weight * (clean.exp() * (clean - noisy)).sum(dim=-1).mean()
