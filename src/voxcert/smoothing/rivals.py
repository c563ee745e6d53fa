"""The other classes, as the embedding rules see them: one number in [-1, 1] each, whose mean's sign decides.

``xi_k = <f, (c_A - c_k)/|c_A - c_k|>`` is the distance of f to the boundary between A and k (Korzh et al. 2024).
"""

import torch

TIED = 1e-3
"""Prototypes closer than this count as identical: no direction between them is meaningful."""


class Rivals:
    """All classes but the predicted one, in ascending order.

    Args:
        prototypes: (K, dim) float64 unit vectors.
        predicted: the class A.

    Attributes:
        distances: (K-1,) ``|c_A - c_k|``, and 0 where a rival has the very prototype of A. Its xi is 0, so no rule can
            certify against it.
    """

    def __init__(self, prototypes: torch.Tensor, predicted: int) -> None:
        classes = torch.arange(len(prototypes), device=prototypes.device)
        self._predicted, self._indices = predicted, classes[classes != predicted]
        distances = torch.linalg.vector_norm(prototypes[predicted] - prototypes[self._indices], dim=1)
        self.distances = torch.where(distances < TIED, 0.0, distances)
        self._scale = torch.where(distances < TIED, 0.0, 1.0 / distances)[:, None]

    def xi(self, scores: torch.Tensor) -> torch.Tensor:
        """``<f, (c_A - c_k)/|c_A - c_k|>`` of every rival, (K-1, batch), from the scores <f, c_k>, (K, batch)."""
        return (scores[self._predicted] - scores[self._indices]) * self._scale
