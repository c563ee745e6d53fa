"""Counts and sums of embeddings, accumulated in float64 on the encoder's device.

They are the sufficient statistics of the rules; nothing here grows with the number of samples.
"""

import torch

from voxcert.smoothing.statistics import Statistics

TIED = 1e-3
"""Prototypes closer than this count as identical: no direction between them is meaningful."""


class Rivals:
    """All classes but the predicted one, and what their xi are.

    Args:
        prototypes: (K, dim) float64 unit vectors.
        predicted: the class A.

    Attributes:
        tied: whether a rival has the very prototype of A. Its xi is 0, so no rule can certify against it.
    """

    def __init__(self, prototypes: torch.Tensor, predicted: int) -> None:
        classes = torch.arange(len(prototypes), device=prototypes.device)
        self._predicted, self._indices = predicted, classes[classes != predicted]
        distances = torch.linalg.vector_norm(prototypes[predicted] - prototypes[self._indices], dim=1)
        self._scale = torch.where(distances < TIED, 0.0, 1.0 / distances)[:, None]
        self.tied = bool((distances < TIED).any())

    def xi(self, scores: torch.Tensor) -> torch.Tensor:
        """``<f, (c_A - c_k)/|c_A - c_k|>`` of every rival, (K-1, batch), from the scores <f, c_k>, (K, batch)."""
        return (scores[self._predicted] - scores[self._indices]) * self._scale


class Tally:
    """Running `Statistics` for fixed classes and thresholds.

    Args:
        prototypes: (K, dim) float64 unit vectors.
        voted: class of the vote rule.
        predicted: class of the embedding rules.
        thresholds: (K-1, m) float64, ascending in each row.
        sigma: standard deviation of the noise.
    """

    def __init__(
        self, prototypes: torch.Tensor, voted: int, predicted: int, thresholds: torch.Tensor, sigma: float
    ) -> None:
        self._prototypes, self._thresholds = prototypes, thresholds.contiguous()
        self._voted, self._predicted, self._sigma = voted, predicted, sigma
        self._rivals = Rivals(prototypes, predicted)
        num_rivals, num_thresholds = thresholds.shape
        counts = {"dtype": torch.int64, "device": prototypes.device}
        self._classes = torch.arange(len(prototypes), device=prototypes.device)
        self._num_samples = 0
        self._votes = torch.zeros(len(prototypes), **counts)
        self._ranks = torch.zeros(num_rivals, num_thresholds + 1, **counts)
        self._smallest_ranks = torch.zeros(num_thresholds + 1, **counts)
        self._embedding_sum = prototypes.new_zeros(prototypes.shape[1])
        self._xi_sum = prototypes.new_zeros(num_rivals)
        self._xi_square_sum = prototypes.new_zeros(num_rivals)

    def add(self, embeddings: torch.Tensor) -> None:
        """Adds float64 unit embeddings, shape (batch, dim)."""
        self._num_samples += len(embeddings)
        scores = self._prototypes @ embeddings.T  # (K, batch)
        self._votes += (scores.argmax(dim=0)[:, None] == self._classes).sum(dim=0)
        xi = self._rivals.xi(scores)  # (K-1, batch)
        self._embedding_sum += embeddings.sum(dim=0)
        self._xi_sum += xi.sum(dim=1)
        self._xi_square_sum += xi.square().sum(dim=1)
        # xi > thresholds[j] exactly where more than j thresholds lie strictly below xi, for all rivals where the
        # smallest of these ranks is above j: histograms of ranks hold all exceedances.
        ranks = torch.searchsorted(self._thresholds, xi)
        ones = torch.ones_like(ranks)
        self._ranks.scatter_add_(1, ranks, ones)
        self._smallest_ranks.scatter_add_(0, ranks.amin(dim=0), ones[0])

    def statistics(self) -> Statistics:
        """What was added so far, as numpy arrays."""
        arrays = {
            "vote_counts": self._votes,
            "embedding_sum": self._embedding_sum,
            "xi_sum": self._xi_sum,
            "xi_square_sum": self._xi_square_sum,
            "thresholds": self._thresholds,
            "exceedances": _above(self._ranks),
            "joint_exceedances": _above(self._smallest_ranks),
            "prototypes": self._prototypes,
        }
        return Statistics(
            num_samples=self._num_samples,
            voted=self._voted,
            predicted=self._predicted,
            sigma=self._sigma,
            **{name: tensor.numpy(force=True).copy() for name, tensor in arrays.items()},
        )


def _above(histogram: torch.Tensor) -> torch.Tensor:
    """How many ranks are above j, for j = 0 .. m - 1, from the histogram of ranks 0 .. m in the last axis."""
    return histogram.flip(-1).cumsum(dim=-1)[..., :-1].flip(-1)
