import numpy as np
import pytest
from oracles import SOUND_RULES, pilot_of, samples, statistics_of, two_valued

from voxcert.smoothing import RULES
from voxcert.smoothing.stopping import favourable, settled


@pytest.mark.parametrize("rule", SOUND_RULES)
def test_favourable_statistics_promise_at_least_what_comes(rule):
    rng = np.random.default_rng(0)
    pilot = pilot_of(samples(100, rng), 16)
    missed = 0
    for _ in range(40):
        xi = samples(2000, rng)
        promise = RULES[rule](favourable(statistics_of(pilot, xi[:250], num_planned=2000, num_looks=4), 0.01), 0.01)
        missed += RULES[rule](statistics_of(pilot, xi, num_looks=4), 0.01) > promise
    assert missed <= 2


def test_favourable_statistics_of_perfect_samples_are_all_perfect():
    best = favourable(statistics_of(pilot_of(np.ones((9, 2))), np.ones((10, 2)), num_planned=1000), 0.01)
    assert best.num_samples == 1000
    assert (best.exceedances == 1000).all()
    assert best.vote_counts[0] == 1000
    np.testing.assert_allclose(best.xi_mean, 1.0)


def looked_at(p, num_samples):
    rng = np.random.default_rng(0)
    xi = two_valued(num_samples, p, rng)
    return statistics_of(pilot_of(two_valued(100, p, rng), 16), xi, num_planned=10_000, num_looks=4)


def test_sampling_goes_on_while_a_radius_may_grow():
    early = looked_at(0.9, 100)
    radii = {"vote": RULES["vote"](early, 0.01)}
    assert not settled(early, radii, 0.01, None, 0.05)
    assert settled(early, radii, 0.01, radii["vote"], 0.05)  # the target is reached
    assert settled(early, radii, 0.01, None, 10.0)  # nobody cares


def test_sampling_ends_where_nothing_can_be_certified():
    hopeless = looked_at(0.2, 1000)
    assert settled(hopeless, {"vote": 0.0, "distribution": 0.0}, 0.01, None, 0.0)


def test_one_rule_that_may_grow_is_enough_to_go_on():
    early = looked_at(0.9, 100)
    radii = {rule: RULES[rule](early, 0.01) for rule in ("vote", "mean")}
    assert not settled(early, radii, 0.01, 1.01 * radii["mean"], 0.05)
    assert settled(early, radii, 0.01, min(radii.values()), 0.05)
