import numpy as np
import pytest
from scipy.stats import norm
from torch import tensor
from torchmetrics.functional.classification import binary_roc

from voxcert.evaluation.metrics.detection import equal_error_rate, error_rate_interval


def test_gaussian_scores_have_the_closed_form():
    quantiles = norm.ppf((np.arange(2000) + 0.5) / 2000)
    rate, threshold = equal_error_rate(quantiles + 2, quantiles)
    assert rate == pytest.approx(norm.cdf(-1), abs=5e-4)
    assert threshold == pytest.approx(1, abs=5e-3)


def test_agrees_with_the_roc_curve():
    rng = np.random.default_rng(0)
    genuine, impostor = rng.uniform(0.3, 1, 60), rng.uniform(0, 0.7, 400)
    accepted, found, _ = binary_roc(
        tensor(np.concatenate([genuine, impostor])), tensor([1] * 60 + [0] * 400), thresholds=None
    )
    gaps = (1 - found - accepted).abs()
    rate, threshold = equal_error_rate(genuine, impostor)
    assert abs(np.mean(genuine < threshold) - np.mean(impostor >= threshold)) == pytest.approx(float(gaps.min()))
    assert rate == pytest.approx((np.mean(genuine < threshold) + np.mean(impostor >= threshold)) / 2)


def test_separable_scores_are_divided_half_way():
    assert equal_error_rate([0.5, 0.9], [0.1, 0.3]) == (0.0, 0.4)


def test_scores_that_do_not_tell_are_half_wrong():
    assert equal_error_rate([0.2], [0.2])[0] == 0.5


@pytest.mark.parametrize(("genuine", "impostor", "name"), [([], [1], "genuine"), ([1], [np.nan], "impostor")])
def test_missing_and_infinite_scores_are_named(genuine, impostor, name):
    with pytest.raises(ValueError, match=f"{name} must be one or more finite scores"):
        equal_error_rate(genuine, impostor)


def test_the_interval_covers_the_true_error_rate():
    """Scores N(1, 1) against N(-1, 1): the equal error rate is Phi(-1)."""
    rng = np.random.default_rng(0)
    truth, covered = norm.cdf(-1), 0
    for _ in range(400):
        found, _ = equal_error_rate(rng.normal(1, 1, 60), rng.normal(-1, 1, 90))
        low, high = error_rate_interval(found, 60, 90)
        assert low <= found <= high
        covered += low <= truth <= high
    assert covered >= 0.95 * 400


def test_no_error_among_few_trials_is_no_proof_of_none():
    low, high = error_rate_interval(0.0, 20, 1000)
    assert low == 0
    assert high == pytest.approx(1.96**2 / (20 + 1.96**2), abs=1e-4)
