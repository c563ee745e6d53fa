import math

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import binom

from voxcert.smoothing.betting import (
    ALL_IN,
    BETS,
    goal,
    log_all_in,
    log_wealth,
    mean_lower_bound,
    smallest_mean_bound,
)
from voxcert.smoothing.bounds import clopper_pearson_lower


@pytest.mark.parametrize("n", [1, 7, 60])
@pytest.mark.parametrize("mean", [0.05, 0.5, 0.9])
def test_wealth_has_mean_one_if_the_hypothesis_holds_with_equality(n, mean):
    """Exactly, by adding up all outcomes of n coins."""
    heads = np.arange(n + 1)
    wealth = log_wealth(np.array([0.0, 1.0]) / mean, np.stack([n - heads, heads], axis=1))
    assert logsumexp(wealth + binom.logpmf(heads, n, mean)) == pytest.approx(0.0, abs=1e-9)


def test_a_larger_hypothetical_mean_would_have_been_a_losing_game():
    heads = np.arange(31)
    wealth = log_wealth(np.array([0.0, 1.0]) / 0.6, np.stack([30 - heads, heads], axis=1))
    assert logsumexp(wealth + binom.logpmf(heads, 30, 0.5)) < 0.0


def test_wealth_by_hand():
    counts, ratios = np.array([2, 0, 5]), np.array([0.4, 1.0, 1.3])
    bets, weights = [*BETS, 1.0], [*np.full(len(BETS), (1 - ALL_IN) / len(BETS)), ALL_IN]
    expected = sum(w * (1 - c + c * 0.4) ** 2 * (1 - c + c * 1.3) ** 5 for c, w in zip(bets, weights, strict=True))
    assert log_wealth(ratios, counts) == pytest.approx(math.log(expected))
    assert log_all_in(ratios, counts) == pytest.approx(math.log(ALL_IN * 0.4**2 * 1.3**5))
    assert log_all_in(np.array([0.0, 2.0]), np.array([1, 9])) == -math.inf


def test_wealth_of_shards_is_that_of_their_sum():
    ratios, a, b = np.array([0.2, 1.4]), np.array([1, 3]), np.array([0, 8])
    factors = 1 - BETS[:, None] + BETS[:, None] * ratios
    logs = np.log(factors) @ a + np.log(factors) @ b
    rest = log_all_in(ratios, a + b)
    expected = np.logaddexp(logsumexp(logs) + math.log((1 - ALL_IN) / len(BETS)), rest)
    assert log_wealth(ratios, a + b) == pytest.approx(expected)


@pytest.mark.parametrize("counts", [[0, 100], [3, 97], [40, 60], [100, 0]])
def test_the_bound_is_where_the_wealth_reaches_its_goal(counts):
    values, counts = np.array([0.0, 1.0]), np.array(counts)
    bound = mean_lower_bound(values, counts, 0.01)
    if counts[1] == 0:
        assert bound == 0.0
    else:
        assert log_wealth(values / bound, counts) >= goal(0.01)
        assert log_wealth(values / (bound * 1.001), counts) < goal(0.01)


@pytest.mark.parametrize("n", [100, 1000, 10_000])
def test_without_a_loss_the_bound_is_that_of_clopper_and_pearson_but_for_the_other_bets(n):
    bound = mean_lower_bound(np.array([0.0, 1.0]), np.array([0, n]), 1e-3)
    best = float(clopper_pearson_lower(n, n, 1e-3))
    assert best * ALL_IN ** (-1 / n) > bound > float(clopper_pearson_lower(n, n, ALL_IN * 1e-3)) * (1 - 1e-6)


def test_the_smallest_bound_of_many_is_the_smallest_of_their_bounds():
    rng = np.random.default_rng(0)
    values = np.sort(rng.uniform(0, 2, (300, 9)), axis=1)
    values[:150, 0] = 0.0
    counts = rng.integers(0, 20, (300, 9))
    for alpha in (0.1, 1e-3):
        expected = min(mean_lower_bound(*pair, alpha) for pair in zip(values, counts, strict=True))
        assert smallest_mean_bound(values, counts, alpha) == pytest.approx(expected, rel=1e-8)


def test_looks_at_every_sample_are_free():
    """2,000 runs of 200 fair coins, looked at after each: the share that ever claims more than 1/2."""
    rng = np.random.default_rng(1)
    heads = (rng.random((2000, 200)) < 0.5).cumsum(axis=1)
    seen = np.arange(1, 201)
    ever = 0
    for row in heads:
        wealth = log_wealth(np.array([0.0, 2.0]), np.stack([seen - row, row], axis=1))
        ever += bool((wealth >= goal(0.05)).any())
    assert ever <= binom.ppf(1 - 1e-4, 2000, 0.05)
    fixed = clopper_pearson_lower(heads[:, -1], 200, 0.05) > 0.5
    many = np.stack([clopper_pearson_lower(heads[:, n - 1], n, 0.05) > 0.5 for n in range(1, 201, 5)])
    assert fixed.sum() <= binom.ppf(1 - 1e-4, 2000, 0.05) < many.any(axis=0).sum()  # what looking costs otherwise


def test_looks_at_every_sample_are_free_exactly():
    """Fair coins, looked at after each of 400: the probability that the wealth ever reaches its goal, by all paths."""
    alpha, silent, claimed = 0.05, np.ones(1), 0.0  # silent[heads]: probability of no claim so far
    for n in range(1, 401):
        silent = 0.5 * (np.append(silent, 0.0) + np.insert(silent, 0, 0.0))
        heads = np.arange(n + 1)
        reached = log_wealth(np.array([0.0, 2.0]), np.stack([n - heads, heads], axis=1)) >= goal(alpha)
        claimed += silent[reached].sum()
        silent[reached] = 0.0
    assert alpha / 4 < claimed <= alpha
