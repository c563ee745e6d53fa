"""Error rates of detection, from the scores of genuine and of impostor trials, and how sure they are.

The equal error rate is where the two curves of the DET plot (Martin et al. 1997) meet, the minimum detection cost that
of the NIST evaluations; scores from the threshold on are accepted.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from voxcert.smoothing.curves import wilson_interval


def error_rates(genuine: ArrayLike, impostor: ArrayLike) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The two error rates at every threshold that can be told apart.

    Rates change at scores only, so thresholds half way between neighbouring scores are all there are, with one below
    all scores and one above. They are numbers: a genuine score of -inf, or an impostor's of inf, is an error at each.

    Args:
        genuine: Scores that should be accepted, shape (n,).
        impostor: Scores that should be rejected, shape (m,).

    Returns:
        Thresholds, ascending; shares of genuine trials that are rejected; shares of impostor trials that are accepted.

    Raises:
        ValueError: If there are no scores of a kind, or some are NaN.
    """
    genuine, impostor = _sorted("genuine", genuine), _sorted("impostor", impostor)
    scores = np.unique(np.concatenate([genuine, impostor]))
    scores = scores[np.isfinite(scores)] if np.isfinite(scores).any() else np.zeros(1)
    middle = (scores[:-1] + scores[1:]) / 2
    middle = np.where(middle > scores[:-1], middle, scores[1:])  # no number lies between the nearest two
    thresholds = np.concatenate([scores[:1], middle, np.nextafter(scores[-1:], np.inf)])
    rejected = np.searchsorted(genuine, thresholds, side="left") / len(genuine)
    accepted = 1 - np.searchsorted(impostor, thresholds, side="left") / len(impostor)
    return thresholds, rejected, accepted


def equal_error_rate(genuine: ArrayLike, impostor: ArrayLike) -> tuple[float, float]:
    """Finds the threshold at which as many genuine trials are rejected as impostors are accepted.

    Where none makes the rates equal, it is the one with the smallest difference, and the error rate is their mean.

    Args:
        genuine: As for `error_rates`.
        impostor: As for `error_rates`.

    Returns:
        The equal error rate, in [0, 1], and the threshold.

    Raises:
        ValueError: As `error_rates`.
    """
    thresholds, rejected, accepted = error_rates(genuine, impostor)
    best = int(np.argmin(np.abs(rejected - accepted)))
    return float(rejected[best] + accepted[best]) / 2, float(thresholds[best])


def crossing_error_rate(genuine: ArrayLike, impostor: ArrayLike) -> float:
    """The smallest error rate that neither kind of error exceeds at some threshold: where the two curves cross.

    Unlike `equal_error_rate`, a mean of two rates that may differ, it never falls where genuine scores fall and
    impostors' rise.

    Args:
        genuine: As for `error_rates`.
        impostor: As for `error_rates`.

    Raises:
        ValueError: As `error_rates`.
    """
    _, rejected, accepted = error_rates(genuine, impostor)
    return float(np.maximum(rejected, accepted).min())


def minimum_detection_cost(genuine: ArrayLike, impostor: ArrayLike, prior: float = 0.01) -> float:
    """The smallest ``prior * P(rejected) + (1 - prior) * P(accepted)``, over that of the better constant answer.

    A constant answer can always be given, so it is at most 1.

    Args:
        genuine: As for `error_rates`.
        impostor: As for `error_rates`.
        prior: Share of genuine trials that is expected in use, in (0, 1); both errors cost 1.

    Raises:
        ValueError: As `error_rates`, or if the prior is out of range.
    """
    if not 0 < prior < 1:
        raise ValueError(f"prior must be in (0, 1), got {prior}")
    _, rejected, accepted = error_rates(genuine, impostor)
    return min(float((prior * rejected + (1 - prior) * accepted).min()) / min(prior, 1 - prior), 1.0)


def error_rate_interval(error_rate: float, num_genuine: int, num_impostor: int) -> tuple[float, float]:
    """The 95 % interval of an equal error rate over independent trials, by Wilson 1927 for the rarer kind of trial.

    An equal error rate is a weighted mean of the two error rates with weights that sum to 1, so its variance is at most
    that of a share among the rarer kind. Trials that share utterances or speakers are not independent: the interval is
    then too short, and `speaker_interval` is the one to show.

    Args:
        error_rate: As `equal_error_rate` returns it.
        num_genuine: Genuine trials.
        num_impostor: Non-genuine trials.
    """
    rarer = min(num_genuine, num_impostor)
    return wilson_interval(error_rate * rarer, rarer)


def speaker_interval(
    statistic: Callable[[np.ndarray], float], speakers: Sequence[str], num_resamples: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """The 95 % percentile interval (bootstrap) over speakers, not over trials: those of one speaker are alike.

    Args:
        statistic: From indices of trials, shape (k,), with repetitions, to a number; NaN where it is not defined.
        speakers: Of each trial.
        num_resamples: How often as many speakers are drawn, with all their trials.
        seed: Of the draws.

    Returns:
        The interval; (NaN, NaN) with fewer than two speakers, or where the statistic is never defined.
    """
    names, owner = _numbered(speakers)
    if len(names) < 2:
        return np.nan, np.nan
    trials = [np.flatnonzero(owner == index) for index in range(len(names))]
    draws = np.random.default_rng(seed).integers(len(names), size=(num_resamples, len(names)))
    values = [statistic(np.concatenate([trials[index] for index in drawn])) for drawn in draws]
    defined = [value for value in values if not np.isnan(value)]
    low, high = np.quantile(defined, [0.025, 0.975]) if defined else (np.nan, np.nan)
    return float(low), float(high)


def speaker_interval_of_mean(
    values: ArrayLike, speakers: Sequence[str], num_resamples: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """As `speaker_interval` for a mean such as a share of hits, at a cost that does not grow with the trials.

    Args:
        values: Of each trial, shape (n,).
        speakers: As for `speaker_interval`.
        num_resamples: As for `speaker_interval`.
        seed: As for `speaker_interval`.
    """
    names, owner = _numbered(speakers)
    if len(names) < 2:
        return np.nan, np.nan
    totals = np.bincount(owner, weights=np.asarray(values, dtype=np.float64))
    counts = np.bincount(owner)
    generator = np.random.default_rng(seed)
    drawn = (generator.integers(len(names), size=len(names)) for _ in range(num_resamples))
    low, high = np.quantile([totals[index].sum() / counts[index].sum() for index in drawn], [0.025, 0.975])
    return float(low), float(high)


def speaker_interval_of_share(hits: ArrayLike, speakers: Sequence[str]) -> tuple[float, float]:
    """As `speaker_interval_of_mean` for a share of hits, which may be all or none of them.

    Then all resamples agree, and the bootstrap would say that there is no doubt. In its place comes Wilson's interval
    with each speaker as one trial: who has one recording that is no hit counts, however many there are of him.

    Args:
        hits: Of each trial, shape (n,), true or false.
        speakers: As for `speaker_interval`.

    Example:
        >>> low, high = speaker_interval_of_share([True] * 94, [f"speaker {i % 47}" for i in range(94)])
        >>> round(low, 3), round(high, 3)
        (0.924, 1.0)
    """
    hits = np.asarray(hits, dtype=bool)
    count = len(set(speakers))
    if count > 1 and (hits.all() or not hits.any()):
        return wilson_interval(count if hits.all() else 0, count)
    return speaker_interval_of_mean(hits, speakers)


def _numbered(speakers: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """The names, sorted, and the place there of each trial's, shape (n,); sorting all trials would take longer."""
    names = sorted(set(speakers))
    places = {name: place for place, name in enumerate(names)}
    return names, np.fromiter(map(places.__getitem__, speakers), dtype=np.int64, count=len(speakers))


def _sorted(name: str, scores: ArrayLike) -> np.ndarray:
    scores = np.sort(np.asarray(scores, dtype=np.float64).ravel())
    if not len(scores) or np.isnan(scores).any():
        raise ValueError(f"{name} must be one or more scores that are not NaN, got {scores}")
    return scores
