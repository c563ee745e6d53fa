import math

import mpmath
import numpy as np
import pytest
from scipy.stats import binom, binomtest, norm

from voxcert.smoothing.bounds import (
    clopper_pearson_lower,
    clopper_pearson_upper,
    vector_bound_radius,
)


@pytest.mark.parametrize("n", [1, 10, 137])
def test_clopper_pearson_is_the_exact_interval_of_scipy(n):
    counts = np.arange(n + 1)
    exact = [binomtest(int(k), n).proportion_ci(confidence_level=1 - 2 * 0.01, method="exact") for k in counts]
    np.testing.assert_allclose(clopper_pearson_lower(counts, n, 0.01), [low for low, _ in exact], rtol=1e-9)
    np.testing.assert_allclose(
        clopper_pearson_upper(counts, n, 0.01), [high for _, high in exact], rtol=1e-9, atol=1e-10
    )


@pytest.mark.parametrize("alpha", [0.05, 1e-3, 1e-9])
@pytest.mark.parametrize("n", [3, 1000, 100_000])
def test_clopper_pearson_never_spends_more_than_alpha(n, alpha):
    counts = np.unique(np.array([1, 2, n // 2, n - 2, n - 1, n]).clip(1, n))
    lower = clopper_pearson_lower(counts, n, alpha)
    assert (binom.sf(counts - 1, n, lower) <= alpha).all()
    assert (binom.sf(counts - 1, n, lower + 1e-6 * (1 - lower)) > alpha * (1 - 1e-3)).all()  # and is tight


def test_clopper_pearson_is_rounded_down_where_scipy_is_not_exact():
    """Its quantile of the beta distribution is too large by a share of 3e-12 here: mpmath adds up the tail."""
    n, k, alpha = 5_596_261, 634_721, 1.3248362839984057e-09
    with mpmath.workdps(40):

        def tail(p):  # P(Binomial(n, p) >= k)
            first = mpmath.binomial(n, k) * p**k * (1 - p) ** (n - k)
            terms, total = mpmath.mpf(1), mpmath.mpf(1)
            for j in range(k, k + 6000):
                terms *= mpmath.mpf(n - j) / (j + 1) * p / (1 - p)
                total += terms
            return first * total

        bound = mpmath.mpf(float(clopper_pearson_lower(k, n, alpha)))
        assert tail(bound) < alpha < tail(bound * (1 + mpmath.mpf(2e-10)))


def test_clopper_pearson_at_the_ends():
    assert clopper_pearson_lower(0, 100, 0.01) == 0.0
    assert clopper_pearson_lower(100, 100, 0.01) == pytest.approx(0.01**0.01, rel=1e-9)
    assert clopper_pearson_upper(100, 100, 0.01) == 1.0


def test_clopper_pearson_keeps_shapes_and_repeated_counts():
    counts = np.array([[5, 0, 5], [9, 10, 0]])
    lower = clopper_pearson_lower(counts, 10, 0.05)
    assert lower.shape == (2, 3)
    assert lower[0, 0] == lower[0, 2] == clopper_pearson_lower(5, 10, 0.05)
    assert clopper_pearson_lower(7, 10, 0.05).shape == ()


@pytest.mark.parametrize(("n", "radius"), [(1_000, 2.463), (10_000, 3.199), (100_000, 3.811)])
def test_largest_radius_that_n_samples_can_give(n, radius):
    assert norm.ppf(clopper_pearson_lower(n, n, 1e-3)) == pytest.approx(radius, abs=6e-4)


@pytest.mark.parametrize(
    ("k", "n", "alpha", "message"),
    [(3, 2, 0.1, "k"), (-1, 2, 0.1, "k"), (1, 0, 0.1, "n"), (1, 2, 0.0, "alpha"), (1, 2, math.nan, "alpha")],
)
def test_counts_out_of_range_are_refused(k, n, alpha, message):
    with pytest.raises(ValueError, match=f"^{message} must"):
        clopper_pearson_lower(k, n, alpha)


@pytest.mark.parametrize(("n", "radius"), [(20_000, 0.0167), (100_000, 0.00746), (300_000, 0.00431)])
def test_vector_bound_as_penalty_of_the_mean_rule(n, radius):
    assert vector_bound_radius(n, 1e-3) / 2 == pytest.approx(radius, rel=5e-3)


def test_the_vector_bound_holds_in_the_worst_case_of_its_range():
    """20,000 means of 50 fair coins at +-1: the share further from the true mean than the bound stays below alpha."""
    means = 2 * np.random.default_rng(0).binomial(50, 0.5, 20_000) / 50 - 1
    for alpha in (0.3, 0.05):
        assert (np.abs(means) > vector_bound_radius(50, alpha)).mean() <= alpha
