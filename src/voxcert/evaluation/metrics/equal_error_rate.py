"""Error rates of recognizers, from the scores of genuine and of impostors' trials.

The equal error rate is where the two curves of the DET plot (Martin et al. 1997) meet; scores from the threshold on are
accepted.
"""

import numpy as np
from numpy.typing import ArrayLike

from voxcert.smoothing.curves import wilson_interval


def equal_error_rate(genuine: ArrayLike, impostor: ArrayLike) -> tuple[float, float]:
    """Finds the threshold at which as many genuine trials are rejected as impostors' are accepted.

    Rates change at scores only, so thresholds half way between neighbouring scores are all that can be told apart.
    Where none makes the rates equal, it is the one with the smallest difference, and the error rate is their mean.

    Args:
        genuine: Scores that should be accepted, shape (n,).
        impostor: Scores that should be rejected, shape (m,).

    Returns:
        The equal error rate, in [0, 1], and the threshold.

    Raises:
        ValueError: If there are no scores of a kind, or some are not finite.
    """
    genuine, impostor = _sorted("genuine", genuine), _sorted("impostor", impostor)
    scores = np.unique(np.concatenate([genuine, impostor]))
    thresholds = np.concatenate([scores[:1], (scores[:-1] + scores[1:]) / 2])
    rejected = np.searchsorted(genuine, thresholds, side="left") / len(genuine)
    accepted = 1 - np.searchsorted(impostor, thresholds, side="left") / len(impostor)
    best = int(np.argmin(np.abs(rejected - accepted)))
    return float(rejected[best] + accepted[best]) / 2, float(thresholds[best])


def error_rate_interval(error_rate: float, num_genuine: int, num_impostor: int) -> tuple[float, float]:
    """The 95 % interval of an equal error rate over independent trials, by Wilson 1927 for the rarer kind of trial.

    An equal error rate is a weighted mean of the two error rates with weights that sum to 1, so its variance is at most
    that of a share among the rarer kind. Trials that share utterances or speakers are not independent: the interval is
    then too short.

    Args:
        error_rate: As `equal_error_rate` returns it.
        num_genuine: Genuine trials.
        num_impostor: Impostors' trials.
    """
    rarer = min(num_genuine, num_impostor)
    return wilson_interval(error_rate * rarer, rarer)


def _sorted(name: str, scores: ArrayLike) -> np.ndarray:
    scores = np.sort(np.asarray(scores, dtype=np.float64).ravel())
    if not len(scores) or not np.isfinite(scores).all():
        raise ValueError(f"{name} must be one or more finite scores, got {scores}")
    return scores
