import math

import numpy as np
import pytest
from oracles import SOUND_RULES, pilot_of, statistics_of, two_valued
from scipy.stats import norm

from voxcert.smoothing.bounds import clopper_pearson_lower
from voxcert.smoothing.rules import RULES, smallest_mean


def gaussian(mean, num_samples, num_rivals=249, spread=0.02, seed=0):
    """Statistics of independent Gaussian xi after a pilot of 100."""
    rng = np.random.default_rng(seed)
    pilot = pilot_of(mean + spread * rng.standard_normal((100, num_rivals)))
    return statistics_of(pilot, mean + spread * rng.standard_normal((num_samples, num_rivals)))


def still(value, num_samples, num_rivals=1, **options):
    """Statistics of an encoder that does not move."""
    pilot = pilot_of(np.full((10, num_rivals), value))
    return statistics_of(pilot, np.full((num_samples, num_rivals), value), **options)


@pytest.mark.parametrize(("mean", "limit"), [(0.05, 0.063), (0.15, 0.189), (0.27, 0.345)])
def test_mean_tends_to_its_limit_from_below(mean, limit):
    radius = RULES["mean"](still(mean, 100_000, 249), 1e-3)
    assert 0.98 * limit < radius < limit + 1e-3


@pytest.mark.parametrize("n", [250, 1000])
def test_mean_loses_twice_log_one_over_alpha_by_n(n):
    """What a function that moves little can be bounded to: betting everything, (1 + h)^n = alpha (1 + E xi)^n."""
    bound = smallest_mean(gaussian(0.3, n, 1), 1e-3)
    assert 0.3 - 1.3 * math.log(1000) / n * 1.3 - 0.02 < bound < 0.3


def test_a_minimum_over_equal_rivals_costs_nothing():
    assert RULES["mean"](still(0.3, 500, 4999), 1e-3) == RULES["mean"](still(0.3, 500), 1e-3)


@pytest.mark.parametrize("mean", [-0.3, 0.0, 0.02, 0.3, 0.99])
def test_mean_is_never_below_lipschitz(mean):
    statistics = gaussian(mean, 2_000, num_rivals=5, spread=0.005)
    mean_radius, lipschitz_radius = RULES["mean"](statistics, 1e-3), RULES["lipschitz"](statistics, 1e-3)
    if lipschitz_radius > 0:
        margin = lipschitz_radius / math.sqrt(math.pi / 2)
        assert mean_radius >= lipschitz_radius
        if margin < 0.3:  # the gap is of second order: 1 + pi h^2 / 12 + ...
            assert mean_radius / lipschitz_radius == pytest.approx(1 + math.pi * margin**2 / 12, abs=margin**4)


def test_samples_are_rounded_down_to_thresholds():
    """The bound on the mean must hold for the lower ends of the bins, wherever in their bins the samples are."""
    pilot = pilot_of(np.random.default_rng(0).normal(0.2, 0.1, (100, 1)))
    edges = np.concatenate([[-1.0], pilot.thresholds[0]])
    rng = np.random.default_rng(1)
    xi = rng.normal(0.2, 0.1, (500, 1))
    low = edges[pilot.thresholds[0].searchsorted(xi[:, 0])]
    assert smallest_mean(statistics_of(pilot, xi), 1e-3) < low.mean() <= xi.mean()


@pytest.mark.parametrize("rule", SOUND_RULES)
@pytest.mark.parametrize("value", [-1.0, 0.0])
def test_rules_abstain_where_nothing_was_seen(rule, value):
    assert not RULES[rule](still(value, 10, 2), 0.5) > 0


@pytest.mark.parametrize("rule", SOUND_RULES)
def test_all_samples_at_the_top_give_finite_radii_below_the_maximum(rule):
    assert 0 < RULES[rule](still(1.0, 1000), 1e-3) < 2.4633


def test_votes_are_bounded_by_clopper_and_pearson_unless_they_were_looked_at():
    rng = np.random.default_rng(0)
    pilot, xi = pilot_of(two_valued(100, 0.9, rng)), two_valued(400, 0.9, rng)
    exact = norm.ppf(clopper_pearson_lower(int((xi > 0).sum()), 400, 0.01))
    once = RULES["vote"](statistics_of(pilot, xi, sigma=0.5), 0.01)
    assert once == pytest.approx(0.5 * exact)
    looked = RULES["vote"](statistics_of(pilot, xi, sigma=0.5, num_looks=3), 0.01)
    assert looked == RULES["vote"](statistics_of(pilot, xi, sigma=0.5), 0.0075), "what betting does not spend"
    assert 0.97 * once < looked < once
    shard = RULES["vote"](statistics_of(pilot, xi, sigma=0.5, num_planned=1000), 0.01)
    early = RULES["vote"](statistics_of(pilot, xi, sigma=0.5, num_planned=1000, num_looks=3), 0.04)
    assert shard == early, "betting alone: a quarter of alpha with looks, all of it without"
    assert 0.85 * once < shard < once


@pytest.mark.parametrize("rule", SOUND_RULES)
def test_radii_grow_with_alpha_and_scale_with_sigma(rule):
    rng = np.random.default_rng(2)
    pilot, xi = pilot_of(rng.normal(0.3, 0.1, (100, 3))), rng.normal(0.3, 0.1, (1000, 3))
    radii = [RULES[rule](statistics_of(pilot, xi), alpha) for alpha in (1e-6, 1e-3, 0.1)]
    assert radii == sorted(radii)
    assert RULES[rule](statistics_of(pilot, xi, sigma=0.25), 1e-3) == pytest.approx(0.25 * radii[1])
