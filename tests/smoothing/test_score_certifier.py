import math

import numpy as np
import pytest
import torch
from oracles import RIVALS, HalfSpace
from scipy.stats import binom, norm

from voxcert.smoothing import ScoreCertifier

SIGMA, WEIGHT = 0.5, torch.tensor([0.6, 0.8, 0.0, 0.0])
ENCODER = HalfSpace(WEIGHT)
START = WEIGHT * 0.6  # 1.2 sigma from the boundary
RADII = [0.0, 0.25, 0.7]


def certifier(**options):
    settings = {"sigma": SIGMA, "num_select": 100, "num_estimate": 20_000, "batch_size": 2000}
    return ScoreCertifier(ENCODER, RIVALS, ["u", "minus u"], **settings | options)


def smoothed(radius):
    """Smallest mean score of u within the radius."""
    return 2 * norm.cdf((0.6 - radius) / SIGMA) - 1


def test_bounds_of_a_half_space_encoder_come_near_the_truth():
    rows = {(row.claim, row.verifier): row for row in certifier().verify(START, RADII, utterance="a", speaker="u")}
    assert len(rows) == 4
    mean, median = rows["u", "embedding"], rows["u", "vote"]
    truth = [smoothed(radius) for radius in RADII]
    assert all(bound <= value for bound, value in zip(mean.lower, truth, strict=True))
    np.testing.assert_allclose(mean.lower, truth, atol=0.05)
    assert median.lower[0] > 0.99
    assert median.lower[1] > 0.99
    assert median.lower[2] < -0.9, "beyond 0.6 the majority turns"
    assert mean.target
    assert not rows["minus u", "embedding"].target
    np.testing.assert_allclose(rows["minus u", "embedding"].upper, [-bound for bound in mean.lower], atol=1e-9)
    assert mean.score == pytest.approx(smoothed(0.0), abs=0.02)
    assert median.score > 0.99
    assert mean.num_forwards == 20_100


def test_an_attack_within_the_radius_stays_within_the_bounds():
    row = next(row for row in certifier().verify(START, [0.25]) if row.claim == "u" and row.verifier == "embedding")
    attacked = certifier(seed=1).verify(START - 0.249 * WEIGHT, [0.0])[0]
    assert row.lower[0] <= attacked.upper[0]
    assert attacked.score >= row.lower[0]


def test_open_set_names_the_winner_while_it_wins():
    mean, median = certifier().identify_or_reject(START, RADII, speaker="u")
    assert mean.claim == median.claim == "u"
    assert mean.target
    assert median.lower[1] > 0.99
    assert median.lower[2] == -1.0, "it is not certified to win there"
    assert mean.bound(0) == mean.lower[0] > 0.5
    stranger = certifier().identify_or_reject(START, RADII, speaker="somebody")[0]
    assert not stranger.target
    assert stranger.bound(2) == stranger.upper[2] > 0.9
    wrong = certifier().identify_or_reject(START, RADII, speaker="minus u")[0]
    assert wrong.target
    assert wrong.bound(0) == -math.inf, "an enrolled speaker who is taken for another is never right"


def test_coverage_of_the_open_set():
    """Near the boundary: u must not be named beyond it, nor at a threshold above its smallest score."""
    radii, wrong, named = [0.02, 0.06, 0.2], np.zeros(3), 0
    for seed in range(150):
        near = certifier(num_select=20, num_estimate=200, batch_size=200, alpha=0.05, seed=seed, num_thresholds=16)
        (row,) = near.identify_or_reject(WEIGHT * 0.1, radii, verifiers=["embedding"])
        lowest = [2 * norm.cdf((0.1 - radius) / SIGMA) - 1 for radius in radii]
        highest = 2 * norm.cdf((0.1 + radii[1]) / SIGMA) - 1
        named += row.lower[0] > -1
        if row.claim == "u":
            wrong[0] += any(low > true for low, true in zip(row.lower[:2], lowest, strict=False))
            wrong[1] += row.lower[2] > -1
        else:
            wrong[1] += row.lower[0] > -1
        wrong[2] += row.upper[1] < highest
    assert named > 0
    assert wrong.max() <= binom.ppf(1 - 1e-4, 150, 0.05)


def test_claims_may_be_few_and_rows_survive_json():
    rows = certifier(num_estimate=200).verify(START, RADII, claims=["minus u"], verifiers=["vote"])
    assert [row.claim for row in rows] == ["minus u"]
    assert type(rows[0]).from_json(rows[0].to_json()) == rows[0]


def test_unusable_embeddings_and_unread_files_know_nothing():
    broken = ScoreCertifier(lambda waveform: ENCODER(waveform) * torch.nan, RIVALS, sigma=SIGMA, num_estimate=10)
    for row in [*broken.verify(START, RADII), *broken.identify_or_reject(START, RADII)]:
        assert row.failed == "non-finite or zero embeddings"
        assert row.lower == [-1.0] * 3
        assert row.upper == [1.0] * 3
    row, *_ = certifier().unheard("a", "u", ["u"], RADII, "cannot be read", open_set=False)
    assert (row.failed, row.num_forwards, row.lower[0]) == ("cannot be read", 0, -1.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"radii": []}, "radii must be one or more finite numbers of at least 0, ascending, got []"),
        ({"radii": [0.2, 0.1]}, "radii must be"),
        ({"radii": [-0.1]}, "radii must be"),
        ({"radii": [float("nan")]}, "radii must be"),
        ({"radii": ["0.1"]}, "radii must be one or more finite numbers of at least 0, ascending, got ['0.1']"),
        ({"claims": ["x"]}, "claims must be enrolled speakers, each once, got ['x']"),
        ({"claims": ["u", "u"]}, "claims must be enrolled speakers, each once, got ['u', 'u']"),
        ({"waveform": [0.0, 1.0]}, "waveform must be a tensor (time,)"),
        ({"claims": []}, "claims must be"),
        ({"verifiers": ["mean"]}, "verifiers must be one or more of ['embedding', 'vote'], got ['mean']"),
    ],
)
def test_refuses(options, message):
    with pytest.raises(ValueError, match="must be") as error:
        certifier().verify(**{"waveform": START, "radii": RADII} | options)
    assert message in str(error.value)
