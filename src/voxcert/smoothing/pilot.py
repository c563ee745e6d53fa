"""What the selection samples decide: the class of either classifier, and the thresholds of the `distribution` rule.

The selection step of CERTIFY in Cohen et al. 2019. It costs no error probability: the bound uses fresh samples, and
whatever was selected, the certificate abstains or is right with probability 1 - alpha.
"""

from dataclasses import dataclass

import torch

from voxcert.smoothing.tally import Rivals

HIGHEST_THRESHOLD = 1.0 - 1e-4
"""Below 1, so that an encoder with xi = 1 (a coin flip between opposite embeddings) exceeds every threshold."""

SMALLEST_SPREAD = 1e-4
"""Floor for the pilot's standard deviations, so that thresholds keep clear of an encoder that hardly moves."""

FAR = (-12.0, -9.0, -7.0)
"""Offsets of the far thresholds from the mean, in standard deviations."""

FEWEST_THRESHOLDS = 6
"""The far ones, two quantiles and one more."""


@dataclass(frozen=True)
class Pilot:
    """Choices made from the selection samples alone.

    Attributes:
        voted: class with most votes.
        predicted: class with the largest score of the mean embedding.
        thresholds: (K-1, num_thresholds) float64, ascending in each row.
        tied: whether a rival's prototype coincides with the predicted one.
    """

    voted: int
    predicted: int
    thresholds: torch.Tensor
    tied: bool


def select(embeddings: torch.Tensor, prototypes: torch.Tensor, num_thresholds: int) -> Pilot | None:
    """Makes the choices; None if an embedding is not finite.

    Args:
        embeddings: (num_select, dim) float64 unit vectors.
        prototypes: (K, dim) float64 unit vectors.
        num_thresholds: thresholds per rival.
    """
    if not torch.isfinite(embeddings).all():
        return None
    scores = prototypes @ embeddings.T  # (K, num_select)
    voted = int(torch.bincount(scores.argmax(dim=0)).argmax())
    predicted = int(scores.mean(dim=1).argmax())
    rivals = Rivals(prototypes, predicted)
    return Pilot(voted, predicted, place_thresholds(rivals.xi(scores).T, num_thresholds), rivals.tied)


def place_thresholds(xi: torch.Tensor, num_thresholds: int) -> torch.Tensor:
    """Thresholds around the pilot's mean in units of its standard deviation, and just below its quantiles.

    Nearly all of the integral lies left of the distribution, where one threshold that (almost) every sample
    exceeds secures it: three far ones are there for heavy tails, an even grid for the rest. The quantiles, a third
    of all, find the few values of an encoder that jumps between them.

    Args:
        xi: (num_select, K-1) float64.
        num_thresholds: thresholds per rival, at least `FEWEST_THRESHOLDS`.

    Returns:
        (K-1, num_thresholds) ascending, in [-1, 1 - 1e-4].
    """
    num_quantiles = num_thresholds // 3
    grid = torch.linspace(-6.0, 2.0, num_thresholds - num_quantiles - len(FAR), dtype=xi.dtype)
    offsets = torch.cat([xi.new_tensor(FAR), grid.to(xi.device)])
    spread = xi.std(dim=0, correction=0).clamp_min(SMALLEST_SPREAD)
    even = xi.mean(dim=0) + spread * offsets[:, None]
    places = (torch.linspace(0.0, 0.9, num_quantiles) * (len(xi) - 1)).long()
    quantiles = xi.sort(dim=0).values[places.to(xi.device)] - SMALLEST_SPREAD
    return torch.cat([even, quantiles]).clamp(-1.0, HIGHEST_THRESHOLD).sort(dim=0).values.T
