import numpy as np
import pytest
from scipy.stats import norm, ttest_1samp
from speechbrain.utils.metric_stats import minDCF
from torch import tensor
from torchmetrics.functional.classification import binary_roc

from voxcert.evaluation.metrics.detection import (
    FEW_SPEAKERS,
    crossing_error_rate,
    equal_error_rate,
    error_rates,
    minimum_detection_cost,
    rate_over_speakers,
    speaker_interval,
    speaker_interval_of_difference,
    speaker_interval_of_mean,
    speaker_interval_of_share,
)
from voxcert.smoothing.curves import wilson_interval


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


def test_the_crossing_rises_as_scores_get_worse():
    """The mean of the two rates that are nearest may fall, for another threshold may become the one."""
    rng, fell = np.random.default_rng(3), 0
    for _ in range(300):
        genuine, impostor = rng.integers(0, 6, 3).astype(float), rng.integers(0, 6, 4).astype(float)
        worse = genuine - rng.integers(0, 2, 3), impostor + rng.integers(0, 2, 4)
        assert crossing_error_rate(*worse) >= crossing_error_rate(genuine, impostor)
        fell += equal_error_rate(*worse)[0] < equal_error_rate(genuine, impostor)[0]
    assert fell > 0


def test_without_ties_the_curves_cross_where_the_smaller_rate_jumps_over_the_other():
    assert crossing_error_rate([0.2, 0.4, 0.6, 0.8], [0.1, 0.3, 0.0]) == pytest.approx(0.25)
    assert crossing_error_rate([0.5, 0.9], [0.1, 0.3]) == 0.0
    assert crossing_error_rate([-1.0], [1.0]) == 1.0, "where nothing is known, everything may be wrong"


def test_separable_scores_are_divided_half_way():
    assert equal_error_rate([0.5, 0.9], [0.1, 0.3]) == (0.0, 0.4)


@pytest.mark.parametrize("low", [0.5, np.nextafter(0.5, 1), -0.5, 5e-324])
def test_separable_scores_without_a_number_between_them_are_divided(low):
    high = np.nextafter(low, 1)
    assert crossing_error_rate([high], [low]) == 0
    assert equal_error_rate([high, 0.9], [low, -0.9]) == (0.0, high)
    assert minimum_detection_cost([high], [low]) == 0


def test_scores_that_do_not_tell_are_half_wrong():
    assert equal_error_rate([0.2], [0.2])[0] == 0.5


@pytest.mark.parametrize(("genuine", "impostor", "name"), [([], [1], "genuine"), ([1], [np.nan], "impostor")])
def test_missing_scores_are_named(genuine, impostor, name):
    with pytest.raises(ValueError, match=f"{name} must be one or more scores that are not NaN"):
        equal_error_rate(genuine, impostor)


def test_no_threshold_is_right_about_scores_without_end():
    genuine, impostor = [-np.inf, 0.6, 0.7, 0.8], [0.1, 0.2, 0.3, 0.4, np.inf]
    thresholds, rejected, accepted = error_rates(genuine, impostor)
    assert np.isfinite(thresholds).all()
    assert (rejected.min(), accepted.min()) == pytest.approx((0.25, 0.2))
    assert crossing_error_rate(genuine, impostor) == 0.25
    rate, threshold = equal_error_rate(genuine, impostor)
    assert (rate, threshold) == (pytest.approx(0.225), 0.5)
    assert minimum_detection_cost(genuine, impostor) == 1.0, "accepting nobody costs less than one impostor in five"
    assert minimum_detection_cost(genuine, impostor[:4]) == 0.25
    assert crossing_error_rate([-np.inf], [np.inf]) == 1.0


def test_the_interval_over_speakers_covers_the_true_error_rate():
    """Scores N(1, 1) against N(-1, 1), of independent trials: the equal error rate is Phi(-1)."""
    rng = np.random.default_rng(0)
    truth, covered = norm.cdf(-1), 0
    genuine, speakers = np.arange(150) < 60, [f"speaker {i % 50}" for i in range(150)]
    for _ in range(60):
        scores = np.where(genuine, rng.normal(1, 1, 150), rng.normal(-1, 1, 150))
        found, low, high = rate_over_speakers(crossing_error_rate, scores, genuine, speakers)
        assert low <= found <= high
        covered += low <= truth <= high
    assert covered >= 0.95 * 60, covered


def test_no_error_among_few_speakers_is_no_proof_of_none():
    genuine, speakers = np.arange(60) % 2 == 0, [f"speaker {i // 3}" for i in range(60)]
    found, low, high = rate_over_speakers(crossing_error_rate, genuine.astype(float), genuine, speakers)
    assert found == low == 0
    assert high == pytest.approx(1.96**2 / (20 + 1.96**2), abs=1e-4)


def test_trials_of_one_kind_have_no_error_rate():
    assert np.isnan(rate_over_speakers(crossing_error_rate, [0.5, 0.6], [True, True], ["a", "b"])).all()
    assert np.isnan(rate_over_speakers(crossing_error_rate, [], [], [])).all()
    found, *interval = rate_over_speakers(crossing_error_rate, [0.5, 0.6], [True, False], ["a", "a"])
    assert found == 1
    assert np.isnan(interval).all()


def test_minimum_detection_cost_is_that_of_speechbrain():
    rng = np.random.default_rng(1)
    genuine, impostor = rng.normal(2, 1, 80), rng.normal(0, 1, 300)
    cost, _ = minDCF(tensor(genuine), tensor(impostor), p_target=0.05)
    assert minimum_detection_cost(genuine, impostor, 0.05) * 0.05 == pytest.approx(float(cost), abs=1e-6)


def test_who_accepts_nobody_costs_one():
    assert minimum_detection_cost([0.0], [1.0]) == 1.0
    with pytest.raises(ValueError, match=r"prior must be in \(0, 1\), got 1"):
        minimum_detection_cost([0.0], [1.0], prior=1)


def test_interval_over_speakers_is_wider_than_over_trials():
    """Thirty speakers of 20 trials each that all share their luck: the share of errors is that of thirty coin flips."""
    speakers = [str(index // 20) for index in range(600)]
    errors = np.repeat([1, 0, 0, 1, 0, 0, 0, 1, 0, 0] * 3, 20)
    low, high = speaker_interval(lambda drawn: float(errors[drawn].mean()), speakers)
    assert 0.1 <= low <= 0.2
    assert 0.4 <= high <= 0.5
    assert np.isnan(speaker_interval(lambda drawn: 0.0, ["one"] * 5)).all()


def test_the_interval_of_a_share_is_that_of_the_statistic():
    rng = np.random.default_rng(2)
    speakers, hits = rng.integers(FEW_SPEAKERS, size=200).astype(str), rng.random(200) < 0.3
    slow = speaker_interval(lambda drawn: float(hits[drawn].mean()), speakers)
    assert speaker_interval_of_share(hits, speakers) == pytest.approx(slow, rel=1e-12)
    few = speakers.astype(int) < 7
    slow = speaker_interval(lambda drawn: float(hits[few][drawn].mean()), speakers[few])
    assert speaker_interval_of_share(hits[few], speakers[few]) == slow


def test_speakers_are_counted_and_not_recordings():
    # Both recordings of a speaker always agree: they count as one.
    assert speaker_interval_of_share([True, True, False, False], ["a", "a", "b", "b"]) == wilson_interval(1, 2)
    assert speaker_interval_of_share([True] * 6, ["a", "a", "b", "b", "c", "c"]) == wilson_interval(3, 3)
    assert speaker_interval_of_share([False] * 2, ["a", "b"]) == wilson_interval(0, 2)
    assert np.isnan(speaker_interval_of_share([True] * 2, ["one"] * 2)).all()


def test_no_error_of_any_speaker_leaves_room_for_some():
    """However many speakers there are: all resamples agree, which shows nothing."""
    for count in (2, 50):
        speakers = [str(index) for index in range(count)]
        assert speaker_interval(lambda drawn: 0.0, speakers) == wilson_interval(0, count)
        assert speaker_interval(lambda drawn: 1.0, speakers) == wilson_interval(count, count)


def test_differences_of_few_speakers_have_students_interval():
    gains = np.array([0.0, 1.0, 0.0, -1.0, 1.0, 1.0])
    pairs = [f"{index // 2}" for index in range(6)]  # means 0.5, -0.5 and 1 of two recordings each
    low, high = ttest_1samp([0.5, -0.5, 1.0], 0).confidence_interval()
    assert (low, high) == pytest.approx((-1.5, 2.2), abs=0.1)
    assert speaker_interval_of_difference(gains, pairs) == (-1.0, 1.0)
    small = speaker_interval_of_difference(gains / 10, pairs)
    assert small == pytest.approx((low / 10, high / 10))


def test_a_difference_that_all_speakers_share_is_not_sure():
    speakers = ["a", "a", "b", "b", "c", "c"]
    unseen = wilson_interval(0, 3)[1]
    assert speaker_interval_of_difference([1] * 6, speakers) == pytest.approx((1 - 2 * unseen, 1))
    assert speaker_interval_of_difference([0] * 6, speakers) == pytest.approx((-unseen, unseen))
    many = [str(index) for index in range(50)]
    assert speaker_interval_of_difference([0] * 50, many) == pytest.approx((-0.071, 0.071), abs=1e-3)
    assert np.isnan(speaker_interval_of_difference([1, 0], ["one", "one"])).all()


@pytest.mark.parametrize("num_speakers", [4, FEW_SPEAKERS + 5])
def test_the_interval_of_a_mean_has_its_units(num_speakers):
    values = np.random.default_rng(0).normal(size=60)
    speakers = [f"{index % num_speakers}" for index in range(60)]
    low, high = speaker_interval_of_mean(values, speakers)
    assert low < values.mean() < high
    assert speaker_interval_of_mean(10 * values + 30, speakers) == pytest.approx((10 * low + 30, 10 * high + 30))
    assert speaker_interval_of_difference(values / 10, speakers) == pytest.approx((low / 10, high / 10))
    assert np.isnan(speaker_interval_of_mean(values, ["one"] * 60)).all()


def test_the_mean_of_few_speakers_has_students_interval():
    values = [[2.0, 4.0, 9.0], [30.0, 50.0, 70.0], [5.0, 5.0, 5.5]]
    speakers = ["a", "b", "c"]
    for own in values:
        assert speaker_interval_of_mean(own, speakers) == pytest.approx(ttest_1samp(own, 0).confidence_interval())


def test_speakers_of_whom_one_has_nearly_all_recordings_count_little():
    equal, unlike = [f"{index // 5}" for index in range(25)], ["0"] * 21 + ["1", "2", "3", "4"]
    number = 25**2 / (21**2 + 4)
    assert speaker_interval_of_share([True] * 25, equal) == wilson_interval(5, 5)
    assert speaker_interval_of_share([True] * 25, unlike) == wilson_interval(number, number)
