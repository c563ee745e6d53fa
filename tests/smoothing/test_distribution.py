import math

import numpy as np
import pytest
from oracles import pilot_of, statistics_of, two_valued
from scipy.special import ndtr, ndtri
from scipy.stats import norm

from union_rules import union_distribution
from voxcert.smoothing.distribution import RADII, RivalView, counted_radii, distribution_radius, riemann_radii


def gaussian(mean, num_samples, num_rivals=1, spread=0.02, seed=0, **options):
    """Statistics of independent Gaussian xi after a pilot of 100."""
    rng = np.random.default_rng(seed)
    pilot = pilot_of(mean + spread * rng.standard_normal((100, num_rivals)))
    return statistics_of(pilot, mean + spread * rng.standard_normal((num_samples, num_rivals)), **options)


def exact_radius(mean, spread):
    """Root of the margin for a Gaussian xi that never leaves [-1, 1], by quadrature."""
    t = np.linspace(-1, 1, 200_001)
    z = np.clip((mean - t) / spread, -30, 30)
    low, high = 0.0, 40.0
    for _ in range(60):
        middle = (low + high) / 2
        positive = np.trapezoid(ndtr(z - middle), t) > 1
        low, high = (middle, high) if positive else (low, middle)
    return low


def test_exact_distributions_have_exact_radii():
    radius = lambda t, p: riemann_radii(np.array([t]), np.array([p]))[0]  # noqa: E731
    # A coin flip between 1 and -1 is what the mean rule is tight for: Phi^-1(p).
    assert radius([1.0], [0.9]) == pytest.approx(norm.ppf(0.9))
    # 1 with probability p, else 0.1: the margin never falls below 0.1.
    assert radius([0.1, 1.0], [1.0, 0.9]) == math.inf
    # 0.5 with probability p, else -1: 1.5 Phi(z - r) = 1.
    assert radius([0.5], [0.9]) == pytest.approx(norm.ppf(0.9) - norm.ppf(2 / 3))
    assert radius([0.5], [0.1]) == radius([0.5], [math.nan]) == 0.0


def test_riemann_radii_are_lower_ends():
    rng = np.random.default_rng(1)
    thresholds = np.sort(rng.uniform(-1, 1, (300, 7)), axis=1)
    probabilities = -np.sort(-rng.beta(8, 0.3, (300, 7)), axis=1)
    widths = np.diff(thresholds, axis=1, prepend=-1)
    for t, p, w, radius in zip(
        thresholds, probabilities, widths, riemann_radii(thresholds, probabilities), strict=True
    ):
        margin = lambda r: (w * norm.cdf(norm.ppf(p) - r)).sum() - 1  # noqa: E731, B023
        assert radius == 0.0 or margin(radius) > 0
        assert math.isinf(radius) or margin(radius + 1e-7) < 1e-9
        assert len(t) == 7


@pytest.mark.parametrize("s", [0.02, 0.7, 2.5])
def test_the_linearised_test_bounds_the_margin_for_any_guess(s):
    """E Y_s - mu_s is below the margin of the lower sum, whatever p and q; equal where q = p."""
    rng = np.random.default_rng(0)
    view = RivalView(gaussian(0.2, 1000), 0, 1e-3)
    widths = np.array([0.7, 0.3, 0.5])
    for _ in range(200):
        p, q = np.sort(rng.uniform(0.001, 0.999, (2, 3)), axis=1)[:, ::-1]
        for guess, equal in ((q, False), (p, True)):
            view._widths, view._guesses, view._quantiles = widths, guess[None], ndtri(guess)[None]
            view._occupied = np.arange(4)
            ratios = view._ratios(np.array([s]))[0, 0]  # Y_s / mu_s where 0, 1, 2 or 3 thresholds are exceeded
            mean = ratios @ -np.diff(np.concatenate([[1.0], p, [0.0]]))
            slopes = norm.pdf(norm.ppf(guess) - s) / norm.pdf(norm.ppf(guess))
            mu = 1 - (widths * (norm.cdf(norm.ppf(guess) - s) - slopes * guess)).sum()
            margin = (widths * norm.cdf(norm.ppf(p) - s)).sum() - 1
            assert mu >= 1.0
            assert (mean - 1) * mu <= margin + 1e-9
            if equal:
                assert (mean - 1) * mu == pytest.approx(margin, abs=1e-9)


@pytest.mark.parametrize(("mean", "n", "least"), [(0.05, 10_000, 0.96), (0.15, 1_000, 0.95), (0.27, 1_000, 1.3)])
def test_reaches_the_table_of_the_guarantee(mean, n, least):
    exact = exact_radius(mean, 0.02)
    assert least < distribution_radius(gaussian(mean, n, 50), 1e-3) < exact


def test_tends_to_the_exact_radius():
    exact = exact_radius(0.1, 0.1)
    radii = [distribution_radius(gaussian(0.1, n, spread=0.1), 1e-3) for n in (200, 1000, 10_000, 200_000)]
    assert radii == sorted(radii)
    assert 0.9 * exact < radii[-1] < exact


@pytest.mark.parametrize("p", [0.75, 0.9, 0.917, 0.99])
@pytest.mark.parametrize("n", [100, 200, 1000, 10_000])
def test_is_not_below_the_union_rule_where_two_values_are_all_there_is(p, n):
    rng = np.random.default_rng(int(1000 * p) + n)
    new, old = [], []
    for _ in range(5):
        xi, estimate = two_valued(100, p, rng), two_valued(n, p, rng)
        pilot = pilot_of(xi)
        new.append(distribution_radius(statistics_of(pilot, estimate), 1e-3))
        old.append(union_distribution(xi, estimate, 1e-3))
    slack = 0.94 if n <= 200 else 0.98
    assert all(a >= slack * b for a, b in zip(new, old, strict=True)), (new, old)


def test_is_above_the_union_rule_where_xi_moves_little():
    for n, gain in ((250, 1.2), (1000, 1.08)):
        rng = np.random.default_rng(3)
        xi, estimate = 0.2 + 0.02 * rng.standard_normal((100, 1)), 0.2 + 0.02 * rng.standard_normal((n, 1))
        old = union_distribution(xi, estimate, 1e-3)
        assert distribution_radius(statistics_of(pilot_of(xi), estimate), 1e-3) > gain * old


def test_equal_rivals_cost_nothing():
    rng = np.random.default_rng(0)
    xi, estimate = 0.2 + 0.02 * rng.standard_normal((100, 1)), 0.2 + 0.02 * rng.standard_normal((1000, 1))
    radii = {
        distribution_radius(statistics_of(pilot_of(np.tile(xi, k)), np.tile(estimate, k)), 1e-3) for k in (1, 49, 4999)
    }
    assert len(radii) == 1


def test_further_rivals_that_are_not_the_nearest_change_nothing():
    rng = np.random.default_rng(0)
    xi, estimate = 0.2 + 0.02 * rng.standard_normal((100, 3)), 0.2 + 0.02 * rng.standard_normal((400, 3))
    far, more = 0.4 + 0.02 * rng.standard_normal((100, 500)), 0.4 + 0.02 * rng.standard_normal((400, 500))
    alone = distribution_radius(statistics_of(pilot_of(xi), estimate), 1e-3)
    together = statistics_of(pilot_of(np.hstack([far, xi])), np.hstack([more, estimate]))
    assert distribution_radius(together, 1e-3) == alone


def test_the_minimum_is_that_of_all_rivals_looked_at_closely():
    statistics = gaussian(0.2, 300, 40, spread=0.1)
    floors = counted_radii(statistics, 1e-3 / 4)
    closely = [max(floors[k], RivalView(statistics, k, 0.75e-3).radius()) for k in range(40)]
    assert distribution_radius(statistics, 1e-3) == min(closely)


def test_counted_bounds_are_for_complete_statistics_only():
    """A sample size that depends on the samples is not what Clopper and Pearson are about."""
    rng = np.random.default_rng(0)
    pilot, xi = pilot_of(two_valued(100, 0.9, rng)), two_valued(150, 0.9, rng)
    complete, early = statistics_of(pilot, xi), statistics_of(pilot, xi, num_planned=600, num_looks=3)
    assert counted_radii(early, 0.25e-3)[0] > RivalView(early, 0, 0.75e-3).radius()
    assert distribution_radius(early, 1e-3) == RivalView(early, 0, 0.75e-3).radius()
    assert distribution_radius(complete, 1e-3) == counted_radii(complete, 0.25e-3)[0]


def test_clopper_pearson_spends_its_share_and_no_more(monkeypatch):
    spent = []
    monkeypatch.setattr(
        "voxcert.smoothing.distribution.clopper_pearson_lower",
        lambda counts, n, alpha: spent.append(alpha) or np.zeros(counts.shape),
    )
    statistics = gaussian(0.2, 100)
    counted_radii(statistics, 1e-3)
    special = int(statistics.pilot.at_quantile[0].sum())
    assert special * spent[0] + (64 - special) * spent[1] == pytest.approx(1e-3)


def test_radii_are_tested_in_ascending_order_up_to_the_first_failure(monkeypatch):
    view = RivalView(gaussian(0.2, 1000), 0, 1e-3)
    asked = []

    def wealth(ratios, counts):
        asked.append(len(ratios))
        return np.full((len(ratios), 3), 100.0)

    monkeypatch.setattr("voxcert.smoothing.distribution.log_all_in", wealth)
    assert view.radius() == RADII[-1]
    assert sum(asked) == len(RADII)
    failing = iter(np.where(np.arange(len(RADII)) == 37, -100.0, 100.0))
    monkeypatch.setattr(
        "voxcert.smoothing.distribution.log_all_in",
        lambda ratios, counts: np.array([[next(failing)] * 3 for _ in ratios]),
    )
    monkeypatch.setattr(
        "voxcert.smoothing.distribution.log_wealth", lambda ratios, counts: np.full((len(ratios), 3), -100.0)
    )
    assert view.radius() == RADII[36]
    assert (np.diff(RADII) > 0).all()


def radius_by_plain_loops(statistics, alpha):
    """The test of one rival from its formulas in docs/guarantee.md: one number at a time, nothing shared."""
    n, thresholds = statistics.num_planned, statistics.pilot.thresholds[0].tolist()
    samples = [j for j, count in enumerate(statistics.counts[0]) for _ in range(count)]  # thresholds below each
    bets = [(1 / (1 + math.exp(7 - 14 * i / 44)), 0.25 / 45) for i in range(45)] + [(1.0, 0.75)]
    last = 0.0
    for s in RADII.tolist():
        wealth = 0.0
        for guesses in statistics.pilot.references(0, n, highest=alpha ** (1 / n)).tolist():
            left, value, mu = -1.0, [0.0], 1.0
            for t, q in zip(thresholds, guesses, strict=True):
                z = norm.ppf(q)
                slope = norm.pdf(z - s) / norm.pdf(z)  # of Phi(Phi^-1(q) - s)
                mu -= (t - left) * (norm.cdf(z - s) - slope * q)
                value.append(value[-1] + (t - left) * slope)
                left = t
            for bet, weight in bets:
                wealth += weight / 3 * math.exp(sum(math.log1p(bet * (value[j] / mu - 1)) for j in samples))
        if wealth < 1 / alpha:
            return last
        last = s
    return last


@pytest.mark.parametrize(("mean", "spread", "n"), [(0.2, 0.02, 60), (0.3, 0.2, 90), (0.02, 0.1, 40)])
def test_the_radius_of_a_rival_is_that_of_plain_loops(mean, spread, n):
    rng = np.random.default_rng(4)
    pilot = pilot_of(mean + spread * rng.standard_normal((50, 1)), 12)
    statistics = statistics_of(pilot, mean + spread * rng.standard_normal((n, 1)))
    assert RivalView(statistics, 0, 0.05).radius() == radius_by_plain_loops(statistics, 0.05)
