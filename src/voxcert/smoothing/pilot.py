"""What the selection samples decide: the class of either classifier, and what the `distribution` rule bets on.

The selection step of CERTIFY in Cohen et al. 2019. It costs no error probability: the bound uses fresh samples, and
whatever was selected, the certificate abstains or is right with probability 1 - alpha. Nothing here depends on alpha.
"""

from dataclasses import dataclass

import numpy as np
import torch

from voxcert.smoothing.forecast import Forecast
from voxcert.smoothing.rivals import Rivals


@dataclass(frozen=True, eq=False, kw_only=True)
class Pilot(Forecast):
    """Choices made from the selection samples alone, with a forecast of every rival's xi_k.

    Attributes:
        voted: class with most votes.
        predicted: class A with the largest score of the mean embedding; rivals are the others in ascending order.
        distances: (K-1,) float64, ``|c_A - c_k|``; 0 where the two count as identical.
    """

    voted: int
    predicted: int
    distances: np.ndarray

    @property
    def tied(self) -> bool:
        """Whether a rival's prototype coincides with the predicted one."""
        return bool((self.distances == 0.0).any())


def select(embeddings: torch.Tensor, prototypes: torch.Tensor, num_thresholds: int) -> Pilot | None:
    """Makes the choices; None if an embedding is not finite.

    Args:
        embeddings: (num_select, dim) float64 unit vectors.
        prototypes: (K, dim) float64 unit vectors.
        num_thresholds: thresholds per rival, at least `forecast.FEWEST_THRESHOLDS`.
    """
    if not torch.isfinite(embeddings).all():
        return None
    scores = prototypes @ embeddings.T  # (K, num_select)
    voted = int(torch.bincount(scores.argmax(dim=0)).argmax())
    predicted = int(scores.mean(dim=1).argmax())
    rivals = Rivals(prototypes, predicted)
    xi, distances = (tensor.numpy(force=True) for tensor in (rivals.xi(scores), rivals.distances))
    return Pilot.fit(xi, num_thresholds, voted=voted, predicted=predicted, distances=distances)
