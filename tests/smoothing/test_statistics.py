from dataclasses import replace

import numpy as np
import pytest
from oracles import pilot_of, samples, statistics_of

from voxcert.smoothing import Statistics
from voxcert.smoothing.statistics import counts_of


def toy(num_samples=60, seed=0, **options):
    rng = np.random.default_rng(seed)
    return statistics_of(pilot_of(samples(50, np.random.default_rng(9)), 16), samples(num_samples, rng), **options)


def part(statistics, start):
    return replace(statistics, ranges=((start, start + statistics.num_samples),))


def test_exceedances_are_the_counts_from_above():
    statistics = toy()
    assert statistics.exceedances.shape == (4, 16)
    np.testing.assert_array_equal(statistics.exceedances[:, -1], statistics.counts[:, -1])
    np.testing.assert_array_equal(statistics.exceedances[:, 0], 60 - statistics.counts[:, 0])
    np.testing.assert_array_equal(np.diff(statistics.exceedances, axis=1), -statistics.counts[:, 1:-1])
    counts = counts_of(statistics.exceedances, 60)
    assert counts.dtype == statistics.counts.dtype
    np.testing.assert_array_equal(counts, statistics.counts)


def test_merging_adds_in_any_order():
    a, b, c = (part(toy(20, seed, num_planned=60), 20 * seed) for seed in range(3))
    whole = a.merge(b).merge(c)
    assert (whole.num_samples, whole.ranges, whole.complete) == (60, ((0, 60),), True)
    assert whole.to_dict() == c.merge(a).merge(b).to_dict()
    assert c.merge(a).ranges == ((0, 20), (40, 60))
    assert not c.merge(a).complete
    np.testing.assert_array_equal(whole.counts, a.counts + b.counts + c.counts)
    assert not a.merge(replace(b, finite=False)).finite


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sigma": 2.0}, "^sigma must be the same .* got 1.0 and 2.0"),
        ({"num_planned": 61}, "^num_planned must be the same"),
        ({"num_looks": 2}, "^num_looks must be the same"),
        ({"ranges": ((19, 39),)}, "^ranges of statistics to merge must be disjoint"),
        (
            {"pilot": pilot_of(np.zeros((5, 4)), 16)},
            "^statistics to merge must have the same pilot, .* unlike devices .*GPUs of two models",
        ),
    ],
)
def test_what_does_not_belong_together_is_not_merged(change, message):
    first = toy(20, num_planned=60)
    with pytest.raises(ValueError, match=message):
        first.merge(replace(part(toy(20, 1, num_planned=60), 20), **change))


def test_plain_data_is_exact():
    statistics = toy()
    assert Statistics.from_dict(statistics.to_dict()).to_dict() == statistics.to_dict()
