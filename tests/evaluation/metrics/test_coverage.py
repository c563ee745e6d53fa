"""How often 95 % intervals over speakers hold the truth in simulations, and how often chance passes for more."""

import numpy as np
import pytest

from voxcert.evaluation.metrics import detection
from voxcert.evaluation.metrics.detection import (
    FEW_SPEAKERS,
    crossing_error_rate,
    speaker_interval,
    speaker_interval_of_difference,
    speaker_interval_of_share,
)

COUNTS = [2, 3, 5, 10, FEW_SPEAKERS - 1]
UNLIKE = [1] * 15 + [7] * 5
"""Recordings of 20 speakers of whom a few have most."""


def recordings(rng, count):
    """How many each speaker has: 7 to 10, or as given."""
    return rng.integers(7, 11, size=count) if isinstance(count, int) else np.array(count)


def shares(rng, count):
    """Hits of speakers whose own shares are Beta(2, 1): 2/3 on average."""
    numbers = recordings(rng, count)
    own = rng.beta(2, 1, size=len(numbers))
    hits = np.concatenate([rng.random(number) < share for number, share in zip(numbers, own, strict=True)])
    return hits, np.repeat(np.arange(len(numbers)), numbers).astype(str)


def coverage(count, repeats):
    rng, held = np.random.default_rng(count), 0
    for _ in range(repeats):
        low, high = speaker_interval_of_share(*shares(rng, count))
        held += low <= 2 / 3 <= high
    return held / repeats


@pytest.mark.parametrize("count", [*COUNTS, UNLIKE], ids=str)
def test_intervals_of_shares_of_few_speakers_hold_the_truth(count):
    assert coverage(count, 400) >= 0.95


def test_resamples_of_few_speakers_are_the_worse_the_fewer_they_are(monkeypatch):
    """Why the bootstrap is left to many."""
    assert coverage(47, 100) > 0.9
    monkeypatch.setattr(detection, "FEW_SPEAKERS", 0)
    held = [coverage(count, 100) for count in (2, 5, 10)]
    assert held == sorted(held)
    assert held[0] < 0.65
    assert held[1] < 0.88
    assert held[2] < 0.93


@pytest.mark.parametrize("count", [*COUNTS, UNLIKE], ids=str)
@pytest.mark.parametrize("same", [True, False], ids=["speakers are alike to both", "speakers take sides"])
def test_two_systems_that_are_equally_good_rarely_differ_by_more_than_chance(count, same):
    """Sides cancel out over all speakers there are."""
    rng, more = np.random.default_rng(count), 0
    for _ in range(1000):
        numbers = recordings(rng, count)
        own, others = rng.beta(2, 1, size=(2, len(numbers)))
        others = own if same else others
        mine, theirs = (rng.random(numbers.sum()) < np.repeat(share, numbers) for share in (own, others))
        low, high = speaker_interval_of_difference(
            mine.astype(float) - theirs, np.repeat(np.arange(len(numbers)), numbers).astype(str)
        )
        more += not low <= 0 <= high
    assert more / 1000 <= 0.065


def test_a_difference_that_is_there_is_found_among_ten_speakers():
    rng, found = np.random.default_rng(0), 0
    for _ in range(200):
        own = np.repeat(rng.beta(2, 1, size=10), 8)
        gains = (rng.random(80) < own).astype(float) - (rng.random(80) < 0.6 * own)
        low, _ = speaker_interval_of_difference(gains, np.repeat(np.arange(10), 8).astype(str))
        found += low > 0
    assert found / 200 > 0.8


@pytest.mark.parametrize("count", [2, 5, 10])
def test_intervals_of_error_rates_of_few_speakers_hold_the_truth(count):
    """Scores of a speaker share a shift, of genuine and of impostor trials each."""
    rng, held = np.random.default_rng(0), 0

    def trials(count):
        genuine, impostor = (rng.normal(mean, 1, (count, 1)) + rng.normal(0, 1, (count, 10)) for mean in (1.5, -1.5))
        return np.concatenate([genuine, impostor], axis=1).ravel(), np.tile(np.arange(20) < 10, count)

    scores, target = trials(20_000)
    truth = crossing_error_rate(scores[target], scores[~target])
    for _ in range(100):
        scores, target = trials(count)

        def rate(drawn, scores=scores, target=target):
            return crossing_error_rate(scores[drawn][target[drawn]], scores[drawn][~target[drawn]])

        low, high = speaker_interval(rate, np.repeat(np.arange(count), 20).astype(str))
        held += low <= truth <= high
    assert held >= 95
