"""What is kept of the noisy embeddings: sums and counts whose memory does not depend on the number of samples.

Every rule of Section 3 of the guarantee reads these statistics and nothing else, so all rules share one pass.
"""

from dataclasses import dataclass, replace

import numpy as np

from voxcert.smoothing.bounds import clopper_pearson_upper, empirical_bernstein_radius


@dataclass(frozen=True)
class Statistics:
    """Sums over n samples of the base encoder f at x + noise, against K prototypes.

    Write A for `predicted`; rivals are all other classes in ascending order, and for the rival k
    ``xi_k = <f, (c_A - c_k)/|c_A - c_k|>``, which lies in [-1, 1].

    Attributes:
        num_samples: n.
        vote_counts: (K,) int64, how often each class had the largest score.
        embedding_sum: (dim,) sum of the unit embeddings.
        xi_sum: (K-1,) sum of xi_k.
        xi_square_sum: (K-1,) sum of xi_k squared.
        thresholds: (K-1, m) ascending in each row, fixed before these samples were drawn.
        exceedances: (K-1, m) int64, how often xi_k > thresholds[k, j].
        joint_exceedances: (m,) int64, how often xi_k > thresholds[k, j] held for all rivals k at once.
        prototypes: (K, dim) unit vectors.
        voted: class that the vote rule is about, fixed before these samples were drawn.
        predicted: class that the embedding rules are about, fixed likewise.
        sigma: standard deviation of the noise, in units of the waveform.
    """

    num_samples: int
    vote_counts: np.ndarray
    embedding_sum: np.ndarray
    xi_sum: np.ndarray
    xi_square_sum: np.ndarray
    thresholds: np.ndarray
    exceedances: np.ndarray
    joint_exceedances: np.ndarray
    prototypes: np.ndarray
    voted: int
    predicted: int
    sigma: float

    @property
    def finite(self) -> bool:
        """Whether all embeddings were finite; otherwise nothing here means anything."""
        return bool(np.isfinite(self.embedding_sum).all())

    @property
    def xi_mean(self) -> np.ndarray:
        """Sample means of xi_k, shape (K-1,)."""
        return self.xi_sum / self.num_samples

    @property
    def xi_variance(self) -> np.ndarray:
        """Sample variances of xi_k with the divisor n - 1, shape (K-1,)."""
        n = self.num_samples
        return np.maximum(self.xi_square_sum - n * self.xi_mean**2, 0.0) / max(n - 1, 1)


def favourable(statistics: Statistics, total: int, alpha: float) -> Statistics:
    """Statistics after `total` samples if the remaining ones turned out as well as the data so far allow.

    "As well" means upper confidence bounds at level alpha: Clopper-Pearson for votes and exceedances, empirical
    Bernstein for the means, no added variance. It only decides whether sampling on is worth it; certificates
    stay valid whatever the stopping rule is, for every look spends its own share of alpha.
    """
    n, rest = statistics.num_samples, total - statistics.num_samples

    def more(counts: np.ndarray) -> np.ndarray:
        return counts + np.ceil(rest * clopper_pearson_upper(counts, n, alpha)).astype(np.int64)

    reach = empirical_bernstein_radius(statistics.xi_variance, n, alpha, width=2.0)
    xi_sum = statistics.xi_sum + rest * np.minimum(statistics.xi_mean + reach, 1.0)
    within = np.maximum(statistics.xi_square_sum - n * statistics.xi_mean**2, 0.0)
    return replace(
        statistics,
        num_samples=total,
        vote_counts=more(statistics.vote_counts),
        embedding_sum=statistics.embedding_sum * (total / n),
        xi_sum=xi_sum,
        xi_square_sum=within + xi_sum**2 / total,
        exceedances=more(statistics.exceedances),
        joint_exceedances=more(statistics.joint_exceedances),
    )
