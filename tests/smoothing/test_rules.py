import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from oracles import SOUND_RULES, statistics_of
from scipy.stats import norm

from voxcert.smoothing import rules
from voxcert.smoothing.bounds import clopper_pearson_lower, vector_bound_radius
from voxcert.smoothing.pilot import place_thresholds
from voxcert.smoothing.rules import RULES, distribution_radius, exceedance_bounds, joint_shares, mean_bounds


def grid(xi):
    return place_thresholds(torch.tensor(xi), 24).numpy()


def gaussian(mean, num_samples, num_rivals=249, spread=0.02, seed=0):
    """Statistics of independent Gaussian xi, with the thresholds of a pilot of 100."""
    rng = np.random.default_rng(seed)
    pilot = mean + spread * rng.standard_normal((100, num_rivals))
    return statistics_of(mean + spread * rng.standard_normal((num_samples, num_rivals)), grid(pilot))


@pytest.mark.parametrize(
    ("mean", "num_samples", "table"), [(0.05, 10_000, 0.96), (0.15, 1_000, 0.88), (0.27, 1_000, 1.2)]
)
def test_distribution_reaches_the_table_of_the_guarantee(mean, num_samples, table):
    radius = RULES["distribution"](gaussian(mean, num_samples), 1e-3)
    assert table < radius < 1.25 * table + 0.2


@pytest.mark.parametrize(("mean", "table"), [(0.15, 2.2), (0.27, 2.6)])
def test_distribution_reaches_the_table_at_a_hundred_thousand_samples(mean, table):
    radius = RULES["distribution"](gaussian(mean, 100_000), 1e-3)
    assert 0.98 * table < radius < 1.25 * table


@pytest.mark.parametrize(("mean", "limit"), [(0.05, 0.063), (0.15, 0.189), (0.27, 0.345)])
def test_mean_tends_to_its_limit_from_below(mean, limit):
    statistics = statistics_of(np.full((100_000, 249), mean), np.zeros((249, 1)))
    radius = RULES["mean"](statistics, 1e-3)
    assert 0.9 * limit < radius < limit + 1e-3
    assert RULES["mean"](statistics, None) == pytest.approx(limit, abs=6e-4)


@pytest.mark.parametrize("mean", [-0.3, 0.0, 0.02, 0.3, 0.99])
@pytest.mark.parametrize("alpha", [None, 1e-3])
def test_mean_is_never_below_lipschitz(mean, alpha):
    statistics = gaussian(mean, 2_000, num_rivals=5, spread=0.005)
    mean_radius, lipschitz_radius = RULES["mean"](statistics, alpha), RULES["lipschitz"](statistics, alpha)
    if lipschitz_radius > 0:
        margin = lipschitz_radius / math.sqrt(math.pi / 2)
        assert mean_radius >= lipschitz_radius
        if margin < 0.3:  # the gap is of second order: 1 + pi h^2 / 12 + ...
            assert mean_radius / lipschitz_radius == pytest.approx(1 + math.pi * margin**2 / 12, abs=margin**4)


def test_mean_bounds_use_the_best_of_three():
    still = statistics_of(np.full((1000, 3), 0.5), np.zeros((3, 1)))
    coin = statistics_of(np.tile([[1.0], [-1.0]], (500, 3)), np.zeros((3, 1)))
    assert (0.5 - mean_bounds(still, 1e-3)).max() < 0.06  # empirical Bernstein
    assert mean_bounds(coin, 1e-3) == pytest.approx(-2 * math.sqrt(math.log(9000) / 2000))  # Hoeffding
    many = statistics_of(np.tile([[1.0], [-1.0]], (500, 50_000)), np.zeros((50_000, 1)))
    assert mean_bounds(many, 0.5) == pytest.approx(-vector_bound_radius(1000, 0.5 / 3))


@pytest.mark.parametrize("rule", SOUND_RULES)
@pytest.mark.parametrize("alpha", [None, 0.5])
def test_rules_abstain_where_nothing_was_seen_or_nothing_makes_sense(rule, alpha):
    nothing = statistics_of(np.full((10, 2), -1.0), np.array([[-0.5, 0.5]] * 2))
    assert not RULES[rule](nothing, alpha) > 0
    even = statistics_of(np.zeros((10, 2)), np.array([[-0.5, 0.5]] * 2))  # ties, as with identical prototypes
    assert not RULES[rule](even, alpha) > 0
    broken = replace(nothing, xi_sum=np.full(2, np.nan), vote_counts=np.zeros(3, dtype=np.int64))
    assert not RULES[rule](broken, alpha) > 0


@pytest.mark.parametrize("rule", SOUND_RULES)
def test_all_samples_at_the_top_give_finite_radii_below_the_maximum(rule):
    top = statistics_of(np.ones((1000, 1)), np.array([[0.0, 1 - 1e-4]]))
    assert 0 < RULES[rule](top, 1e-3) < 2.4633
    assert 0 < RULES[rule](top, None) < 3.3


def test_exact_distributions_have_exact_radii():
    # A coin flip between 1 and -1 is what the mean rule is tight for: Phi^-1(p).
    assert distribution_radius(np.array([[1.0]]), np.array([[0.9]]), 2.0) == pytest.approx(2 * norm.ppf(0.9))
    # 1 with probability p, else 0.1: the margin never falls below 0.1.
    assert distribution_radius(np.array([[0.1, 1.0]]), np.array([[1.0, 0.9]]), 1.0) == math.inf
    # 0.5 with probability p, else -1: 1.5 Phi(z - r) = 1. The rival further away does not matter.
    expected = norm.ppf(0.9) - norm.ppf(2 / 3)
    two = distribution_radius(np.array([[0.5], [0.9]]), np.array([[0.9], [0.9]]), 1.0)
    assert two == pytest.approx(expected)
    assert two <= expected


def test_distribution_radius_returns_the_lower_end():
    rng = np.random.default_rng(1)
    for _ in range(200):
        thresholds = np.sort(rng.uniform(-1, 1, (5, 7)), axis=1)
        probabilities = -np.sort(-rng.beta(8, 0.3, (5, 7)), axis=1)
        radius = distribution_radius(thresholds, probabilities, 1.0)
        widths = np.diff(thresholds, axis=1, prepend=-1)
        margins = lambda r: ((widths * norm.cdf(norm.ppf(probabilities) - r)).sum(1) - 1).min()  # noqa: E731, B023
        assert radius == 0.0 or margins(radius) > 0
        assert math.isinf(radius) or margins(radius + 1e-7) < 1e-9


def test_exceedance_bounds_fall_and_stay_below_the_truth_of_a_still_encoder():
    statistics = gaussian(0.15, 1_000, num_rivals=7)
    bounds = exceedance_bounds(statistics, 1e-3)
    assert (np.diff(bounds, axis=1) <= 0).all()
    assert (bounds <= statistics.exceedances / 1000).all()
    assert bounds.max() < 1


def test_joint_events_pay_for_no_union_over_rivals():
    statistics = gaussian(0.15, 1_000)
    shares = joint_shares(5e-4, 24)
    best = max(
        float(clopper_pearson_lower(k, 1000, a)) for k, a in zip(statistics.joint_exceedances, shares, strict=True)
    )
    assert exceedance_bounds(statistics, 1e-3).max() == best
    alone = clopper_pearson_lower(statistics.exceedances, 1000, 1e-3 / (249 * 24))
    without = distribution_radius(statistics.thresholds, alone, 1.0)
    assert RULES["distribution"](statistics, 1e-3) > 1.1 * without  # what the joint events are there for


@pytest.mark.parametrize("num_rivals", [1, 2, 249])
def test_all_events_together_spend_alpha_and_no_more(monkeypatch, num_rivals):
    spent = []

    def recorder(function, per_call):
        def call(*arguments, **options):
            spent.append(arguments[2 - per_call] * (np.size(arguments[0]) if not per_call else 1))
            return function(*arguments, **options)

        return call

    statistics = gaussian(0.15, 100, num_rivals)
    monkeypatch.setattr(rules, "clopper_pearson_lower", recorder(clopper_pearson_lower, per_call=0))
    exceedance_bounds(statistics, 1e-3)
    assert 0.99e-3 < math.fsum(spent) <= 1e-3 * (1 + 1e-12)
    spent.clear()
    monkeypatch.setattr(rules, "vector_bound_radius", recorder(vector_bound_radius, per_call=1))
    monkeypatch.setattr(rules, "hoeffding_radius", recorder(rules.hoeffding_radius, per_call=1))
    monkeypatch.setattr(rules, "empirical_bernstein_radius", recorder(rules.empirical_bernstein_radius, per_call=0))
    mean_bounds(statistics, 1e-3)
    bernstein, hoeffding, vector = spent
    assert bernstein + num_rivals * hoeffding + vector == pytest.approx(1e-3, rel=1e-12)
