"""Error rates of detection, from the scores of genuine and of impostor trials, and how sure they are.

The equal error rate is where the two curves of the DET plot (Martin et al. 1997) meet, the minimum detection cost that
of the NIST evaluations; scores from the threshold on are accepted.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import t

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


FEW_SPEAKERS = 20
"""Of fewer, resamples spread too little: bootstrapped 95 % intervals of shares hold the truth in some 83 of 100 cases
with five speakers, in 89 with ten and in 92 with twenty (`tests/evaluation/metrics/test_coverage.py`). Speakers count
as many as those, with equally many trials each, whose mean varies as much (Kish 1965, effective sample size)."""

RESAMPLES = 1000


def speaker_interval(rate: Callable[[np.ndarray], float], speakers: Sequence[str]) -> tuple[float, float]:
    """The 95 % interval of an error rate over speakers, not over trials: those of one speaker are alike.

    With `FEW_SPEAKERS` or more it is the percentile interval (bootstrap). With fewer, and where the rate is 0 or 1, so
    that all resamples agree, it is Wilson's with each speaker as one trial. That one is rather too wide than too short:
    rates of single speakers spread no more than if each had errors only, or none.

    Args:
        rate: From indices of trials, shape (k,), with repetitions, to a number in [0, 1]; NaN where it is not defined.
        speakers: Of each trial.

    Returns:
        The interval; (NaN, NaN) with fewer than two speakers, or where the rate is not defined.
    """
    names, owner = _numbered(speakers)
    counts, found = np.bincount(owner), rate(np.arange(len(owner)))
    if _effective(counts) < FEW_SPEAKERS or found in (0.0, 1.0) or np.isnan(found):
        return _each_a_trial(found, counts)
    trials = [np.flatnonzero(owner == index) for index in range(len(names))]
    return _resampled(lambda drawn: rate(np.concatenate([trials[index] for index in drawn])), len(names))


def rate_over_speakers(
    rate: Callable[[np.ndarray, np.ndarray], float], scores: ArrayLike, genuine: ArrayLike, speakers: Sequence[str]
) -> tuple[float, float, float]:
    """An error rate of trials of both kinds, and its interval over speakers.

    Args:
        rate: From the scores of genuine and of impostor trials to a number in [0, 1], as `crossing_error_rate`.
        scores: Of each trial, shape (n,).
        genuine: Of each trial, shape (n,), true or false.
        speakers: As for `speaker_interval`.

    Returns:
        The rate, NaN without trials of either kind; the interval, as `speaker_interval` returns it.

    Example:
        >>> scores, genuine = [0.9, 0.2, 0.8, 0.1], [True, False, True, False]
        >>> rate, low, high = rate_over_speakers(crossing_error_rate, scores, genuine, ["a", "a", "b", "b"])
        >>> rate, low, round(high, 2)
        (0.0, 0.0, 0.66)
    """
    scores, genuine = np.asarray(scores), np.asarray(genuine, dtype=bool)
    if not len(scores):
        return np.nan, np.nan, np.nan

    def of(drawn: np.ndarray) -> float:
        drawn_scores, kinds = scores[drawn], genuine[drawn]
        if kinds.all() or not kinds.any():
            return np.nan
        return rate(drawn_scores[kinds], drawn_scores[~kinds])

    return of(np.arange(len(scores))), *speaker_interval(of, speakers)


def speaker_interval_of_share(hits: ArrayLike, speakers: Sequence[str]) -> tuple[float, float]:
    """As `speaker_interval` for a share of hits, at a cost that does not grow with the trials.

    Args:
        hits: Of each trial, shape (n,), true or false.
        speakers: As for `speaker_interval`.

    Example:
        >>> low, high = speaker_interval_of_share([True] * 94, [f"speaker {i % 47}" for i in range(94)])
        >>> round(low, 3), round(high, 3)
        (0.924, 1.0)
    """
    totals, counts = _added_up(hits, speakers)
    share = totals.sum() / counts.sum()
    if _effective(counts) < FEW_SPEAKERS or share in (0.0, 1.0):
        return _each_a_trial(share, counts)
    return _resampled(lambda drawn: totals[drawn].sum() / counts[drawn].sum(), len(counts))


def speaker_interval_of_mean(values: ArrayLike, speakers: Sequence[str]) -> tuple[float, float]:
    """The 95 % interval over speakers of the mean of any quantity.

    With `FEW_SPEAKERS` or more it is the percentile interval (bootstrap); with fewer Student's t around the mean, with
    the jackknife's standard error, for which every speaker is left out once.

    Args:
        values: Of each trial, shape (n,).
        speakers: As for `speaker_interval`.

    Returns:
        The interval, of no width where all speakers have one mean; (NaN, NaN) with fewer than two speakers.

    Example:
        >>> low, high = speaker_interval_of_mean([1.0, 3.0] * 50, [f"speaker {i % 20}" for i in range(100)])
        >>> low < 2.0 < high
        True
    """
    totals, counts = _added_up(values, speakers)
    if len(counts) < 2:
        return np.nan, np.nan
    number = _effective(counts)
    if number >= FEW_SPEAKERS:
        return _resampled(lambda drawn: totals[drawn].sum() / counts[drawn].sum(), len(counts))
    without = (totals.sum() - totals) / (counts.sum() - counts)
    mean, half = totals.sum() / counts.sum(), t.ppf(0.975, number - 1) * np.sqrt((len(counts) - 1) * without.var())
    return float(mean - half), float(mean + half)


def speaker_interval_of_difference(gains: ArrayLike, speakers: Sequence[str]) -> tuple[float, float]:
    """As `speaker_interval_of_mean` for a mean of differences in [-1, 1]: more than chance where 0 is outside.

    Where all speakers gain the same, there is no spread to go by: then speakers like none of them, as many as Wilson's
    interval leaves room for, may lose or gain all there is.

    Args:
        gains: Of each trial, shape (n,), in [-1, 1], such as what one system hits and another one misses.
        speakers: As for `speaker_interval`.

    Returns:
        The interval, inside [-1, 1]; (NaN, NaN) with fewer than two speakers.
    """
    totals, counts = _added_up(gains, speakers)
    if len(counts) > 1 and np.ptp(totals / counts) == 0:
        mean, (_, unseen) = totals.sum() / counts.sum(), wilson_interval(0, _effective(counts))
        return float(mean - unseen * (1 + mean)), float(mean + unseen * (1 - mean))
    low, high = np.clip(speaker_interval_of_mean(gains, speakers), -1, 1)
    return float(low), float(high)


def _effective(counts: np.ndarray) -> float:
    """How many speakers with equally many trials tell as much as those who have so many each."""
    return float(counts.sum() ** 2 / (counts**2).sum())


def _each_a_trial(rate: float, counts: np.ndarray) -> tuple[float, float]:
    """Wilson's interval of a rate over speakers who have so many trials each; none of one speaker."""
    if len(counts) < 2 or np.isnan(rate):
        return np.nan, np.nan
    number = _effective(counts)
    return wilson_interval(rate * number, number)


def _added_up(values: ArrayLike, speakers: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """The sum of each speaker's values and the number of them, both (speakers,)."""
    _, owner = _numbered(speakers)
    return np.bincount(owner, weights=np.asarray(values, dtype=np.float64)), np.bincount(owner)


def _resampled(value: Callable[[np.ndarray], float], num_speakers: int) -> tuple[float, float]:
    """The percentile interval of what is defined of a value of as many speakers, drawn with repetitions."""
    draws = np.random.default_rng(0).integers(num_speakers, size=(RESAMPLES, num_speakers))
    values = [found for drawn in draws if not np.isnan(found := value(drawn))]
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


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
