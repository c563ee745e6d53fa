import numpy as np
import pytest
from oracles import SOUND_RULES, pilot_of, statistics_of, two_valued
from scipy.stats import norm

from voxcert.smoothing.plug_in import plug_in_radius


@pytest.mark.parametrize("rule", ["vote", "mean", "distribution"])
def test_is_the_true_radius_of_two_values(rule):
    rng = np.random.default_rng(0)
    statistics = statistics_of(pilot_of(two_valued(100, 0.9, rng)), two_valued(200_000, 0.9, rng), sigma=0.5)
    radius, capped = plug_in_radius(rule, statistics)
    assert radius == pytest.approx(0.5 * norm.ppf(0.9), abs=0.01)
    assert not capped


def test_leaves_no_riemann_loss():
    """A uniform xi: the margin is a smooth integral, and few thresholds are enough."""
    rng = np.random.default_rng(0)
    statistics = statistics_of(pilot_of(rng.uniform(-0.2, 1, (100, 1)), 24), rng.uniform(-0.2, 1, (100_000, 1)))
    t = np.linspace(-0.2, 1, 100_001)
    z = norm.ppf(np.clip((1 - t) / 1.2, 0, 1))
    margin = lambda s: 0.8 + np.trapezoid(norm.cdf(z - s), t) - 1  # noqa: E731
    radius, _ = plug_in_radius("distribution", statistics)
    assert margin(radius) == pytest.approx(0.0, abs=0.01)


@pytest.mark.parametrize("n", [100, 1000])
@pytest.mark.parametrize("rule", SOUND_RULES)
def test_what_never_fails_is_capped_and_says_so(rule, n):
    top = statistics_of(pilot_of(np.ones((10, 1))), np.ones((n, 1)))
    radius, capped = plug_in_radius(rule, top)
    assert capped
    assert radius <= norm.ppf(1 - 0.5 / n) + 1e-9


@pytest.mark.parametrize("rule", [*SOUND_RULES, "published_mean", "published_se"])
def test_a_loser_has_no_radius(rule):
    assert plug_in_radius(rule, statistics_of(pilot_of(-np.ones((10, 2))), np.full((50, 2), -0.5))) == (0.0, False)
