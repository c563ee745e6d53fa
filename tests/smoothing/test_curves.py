import numpy as np
import pytest
from scipy.stats import binomtest

from voxcert.smoothing import (
    Certificate,
    abstention_rate,
    average_certified_radius,
    certified_accuracy,
    smoothed_accuracy,
    wilson_interval,
)


def row(prediction, radius, abstained=None, rule="vote"):
    return Certificate("u", "a", prediction, rule, radius, abstained, 0.0, 0.01, 1e-3, 1, 1, 2, 0.1, 0)


# Two correct and certified, one correct but abstained, one wrong, one failed.
ROWS = [
    row("a", 0.2),
    row("a", 0.5),
    row("a", 0.0, "no majority"),
    row("b", 0.9),
    Certificate.failed("u", "a", "vote", "bad audio", sigma=0.01, alpha=1e-3, seed=0),
]


def test_certified_accuracy_by_hand():
    radii = [0.0, 0.1, 0.2, 0.3, 0.5, 0.9]
    np.testing.assert_allclose(certified_accuracy(ROWS, radii), [0.4, 0.4, 0.2, 0.2, 0.0, 0.0])  # radius > e, strictly


@pytest.mark.parametrize("radius", [-1.5, float("nan")])
def test_nothing_is_certified_at_what_is_no_norm(radius):
    with pytest.raises(ValueError, match=r"radii must be norms of at least 0, got \[0.1, "):
        certified_accuracy(ROWS, [0.1, radius])


def test_certified_accuracy_never_rises():
    rng = np.random.default_rng(0)
    rows = [row(rng.choice(["a", "b"]), float(radius)) for radius in rng.exponential(size=200)]
    assert (np.diff(certified_accuracy(rows, np.linspace(0, 5, 50))) <= 0).all()


def test_summaries_by_hand():
    assert average_certified_radius(ROWS) == pytest.approx(0.7 / 5)
    assert abstention_rate(ROWS) == pytest.approx(2 / 5)
    assert smoothed_accuracy(ROWS) == pytest.approx(3 / 5)


def test_rows_of_no_rule_or_several_are_refused():
    for rows in ([], [row("a", 0.1), row("a", 0.1, rule="mean")]):
        for curve in (average_certified_radius, abstention_rate, smoothed_accuracy):
            with pytest.raises(ValueError, match="one rule"):
                curve(rows)
        with pytest.raises(ValueError, match="one rule"):
            certified_accuracy(rows, [0.1])


@pytest.mark.parametrize(("successes", "n"), [(0, 1), (0, 20), (3, 20), (20, 20), (500, 1234)])
@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.999])
def test_wilson_is_that_of_scipy(successes, n, confidence):
    expected = binomtest(successes, n).proportion_ci(confidence, method="wilson")
    np.testing.assert_allclose(wilson_interval(successes, n, confidence), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("arguments", [(1, 0), (3, 2), (-1, 2), (1, 2, 1.0), (1, 2, 0.0)])
def test_wilson_refuses_what_makes_no_sense(arguments):
    with pytest.raises(ValueError, match="must lie in"):
        wilson_interval(*arguments)
