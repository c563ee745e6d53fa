"""Normalises the score of a claim by those of a fixed cohort: an affine map, so bounds on scores pass through exactly.

The enrolment side of adaptive symmetric normalisation (AS-norm, Matejka et al. 2017, "Analysis of score normalization
in multilingual speaker recognition", section 2): the mean and the deviation of the enrolled voice's scores with the
cohort speakers nearest to it. The test side depends on the noisy recording and is no fixed map: it is left out.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from voxcert.smoothing.validation import check_prototypes, require


@dataclass(frozen=True)
class Normalization:
    """The map of one claim's scores, fixed at enrolment.

    Attributes:
        mean: of the enrolled voice's cosines with the cohort.
        deviation: their standard deviation, above 0.
    """

    mean: float = 0.0
    deviation: float = 1.0

    def normalized(self, cosine: float) -> float:
        """(cosine - mean) / deviation."""
        return (cosine - self.mean) / self.deviation

    def cosine(self, normalized: float) -> float:
        """The cosine that is normalised to a number: a threshold, before it is."""
        return self.mean + self.deviation * normalized


class Cohort:
    """Speakers who are neither tested nor claimed, for others' scores to be told by.

    Args:
        prototypes: (K, dim) unit vectors, K >= 2.
        speakers: K names; a speaker of the cohort who claims is not compared with himself.
        nearest: how many of them, those with the largest cosines, normalise a claim; all when None.

    Raises:
        ValueError: if there are fewer than two speakers, or `nearest` is not in [2, K].

    Examples:
        >>> import torch
        >>> from voxcert.smoothing.normalization import Cohort
        >>> cohort = Cohort(torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]]), ["a", "b", "c"], nearest=2)
        >>> fixed = cohort.normalization(torch.tensor([1.0, 0.0]))  # cosines 1, 0.8 and 0
        >>> round(fixed.mean, 3), round(fixed.deviation, 3), round(fixed.normalized(0.7), 3)
        (0.9, 0.1, -2.0)
    """

    def __init__(self, prototypes: torch.Tensor, speakers: Sequence[str], nearest: int | None = None) -> None:
        check_prototypes(prototypes)
        require("nearest", nearest, f"in [2, {len(prototypes)}]", nearest is None or 2 <= nearest <= len(prototypes))
        self.prototypes, self.speakers, self.nearest = prototypes.detach().double(), list(speakers), nearest

    def normalization(self, prototype: torch.Tensor, speaker: str = "") -> Normalization:
        """The map of an enrolled voice.

        Args:
            prototype: (dim,) unit vector.
            speaker: its name.

        Raises:
            ValueError: if its cosines with the cohort do not differ.
        """
        others = [index for index, name in enumerate(self.speakers) if name != speaker]
        cosines = self.prototypes[others] @ prototype.detach().to(self.prototypes)
        if self.nearest is not None:
            cosines = cosines.topk(min(self.nearest, len(cosines))).values
        deviation = float(cosines.std(correction=0))
        require(f"cohort of {speaker!r}", self.speakers[:5], "speakers who differ in their cosines", deviation > 1e-6)
        return Normalization(float(cosines.mean()), deviation)
