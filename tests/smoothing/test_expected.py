import numpy as np
import pytest
from oracles import SOUND_RULES, pilot_of, statistics_of, two_valued
from scipy.stats import binomtest, norm

from voxcert.smoothing.expected import expected_radius, scaled
from voxcert.smoothing.outcome import lower_radius


def test_a_vote_is_what_clopper_and_pearson_say_of_the_scaled_count():
    rng = np.random.default_rng(0)
    statistics = statistics_of(pilot_of(two_valued(100, 0.9, rng)), two_valued(200, 0.9, rng), sigma=0.5)
    votes = int(statistics.vote_counts[statistics.pilot.voted])
    expected = int(10_000 * votes / 200 * (1 - 0.5 / 200))
    low = binomtest(expected, 10_000).proportion_ci(1 - 2e-3, method="exact").low  # two-sided
    assert expected_radius("vote", statistics, 10_000, 1e-3) == pytest.approx(0.5 * norm.ppf(low), rel=1e-6)


@pytest.mark.parametrize("rule", SOUND_RULES)
def test_foretells_what_so_many_samples_certify(rule):
    """A pilot of 2,000 samples against a certificate of 10,000 others, where each copy agrees with probability 0.9."""
    rng = np.random.default_rng(1)
    pilot = pilot_of(two_valued(100, 0.9, rng))
    foretold = expected_radius(rule, statistics_of(pilot, two_valued(2000, 0.9, rng)), 10_000, 1e-3)
    assert foretold == pytest.approx(
        lower_radius(rule, statistics_of(pilot, two_valued(10_000, 0.9, rng)), 1e-3), rel=0.1
    )


@pytest.mark.parametrize("rule", SOUND_RULES)
def test_a_small_pilot_that_never_fails_promises_no_more_than_it_could_see(rule):
    certain = statistics_of(pilot_of(np.ones((10, 1))), np.ones((50, 1)))
    radii = [expected_radius(rule, certain, n, 1e-3) for n in (100, 1000, 100_000)]
    assert 0 < radii[0] < radii[1] < radii[2] <= norm.ppf(1 - 0.5 / 50) + 1e-9


@pytest.mark.parametrize("num_pilot", [3, 50, 100, 128])
@pytest.mark.parametrize("num_samples", [64, 1000, 100_000])
def test_without_doubt_copies_that_all_agree_foretell_that_all_do(num_pilot, num_samples):
    certain = statistics_of(pilot_of(np.ones((10, 1))), np.ones((num_pilot, 1)), sigma=0.5)
    low = 1e-3 ** (1 / num_samples)  # Clopper and Pearson's bound where nothing fails
    radius = expected_radius("vote", certain, num_samples, 1e-3, doubt=False)
    assert radius == pytest.approx(0.5 * norm.ppf(low), rel=1e-5)
    assert radius > expected_radius("vote", certain, num_samples, 1e-3)


@pytest.mark.parametrize("rule", SOUND_RULES)
def test_without_doubt_no_radius_is_smaller(rule):
    rng = np.random.default_rng(3)
    statistics = statistics_of(pilot_of(two_valued(100, 0.9, rng)), two_valued(200, 0.9, rng))
    for n in (64, 1000, 20_000):
        assert expected_radius(rule, statistics, n, 1e-3, doubt=False) >= expected_radius(rule, statistics, n, 1e-3) > 0


def test_a_count_that_comes_out_even_is_not_rounded_down():
    certain = statistics_of(pilot_of(np.ones((10, 1))), np.ones((100, 1)))
    for n in range(200, 20_001, 200):
        votes = scaled(certain, n).vote_counts
        assert votes[certain.pilot.voted] == n * 199 // 200


@pytest.mark.parametrize("rule", SOUND_RULES)
def test_a_loser_is_expected_to_abstain(rule):
    lost = statistics_of(pilot_of(-np.ones((10, 2))), np.full((50, 2), -0.5))
    assert expected_radius(rule, lost, 1000, 1e-3) == 0


@pytest.mark.parametrize("num_samples", [1, 7, 50, 12_345])
def test_counts_add_up(num_samples):
    rng = np.random.default_rng(2)
    xi = rng.uniform(-0.5, 1, (50, 3))
    result = scaled(statistics_of(pilot_of(xi), xi), num_samples)
    assert result.complete
    assert result.num_samples == num_samples
    assert (result.counts.sum(axis=1) == num_samples).all()
    assert (result.counts >= 0).all()
    assert result.vote_counts.sum() == num_samples
