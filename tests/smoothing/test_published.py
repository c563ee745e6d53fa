import math

import numpy as np
import pytest
from oracles import pilot_of, statistics_of, unit
from scipy.stats import norm

from voxcert.smoothing.plug_in import plug_in_radius
from voxcert.smoothing.rules import RULES

PROTOTYPES = np.stack([unit(0), unit(40), unit(100), unit(170)])


def still(angle, prototypes=PROTOTYPES, num_samples=1000):
    """Statistics of an encoder that always returns the embedding at this angle."""
    units = prototypes[0] - prototypes[1:]
    distances = np.linalg.norm(units, axis=1)
    xi = np.tile(units @ unit(angle) / np.where(distances > 0, distances, 1), (num_samples, 1))
    return statistics_of(pilot_of(xi, distances=distances), xi, sigma=0.5)


def test_published_radii_by_hand():
    distance = 2 * math.sin(math.radians(20))
    margin = math.sin(math.radians(20 - 5))  # <u(5), u(-70)>: the hyperplane between 0 and 40 degrees is at 20
    assert RULES["published_mean"](still(5), None) == pytest.approx(0.5 * norm.ppf(0.5 + margin / 2))
    assert RULES["published_se"](still(5), None) == pytest.approx(0.5 * math.sqrt(math.pi / 2) * margin / distance)


def test_published_interval_is_that_of_equation_16():
    """Phi is lowered by sqrt(ln(2/alpha)/(4 N)), where 2 N samples were drawn."""
    margin = math.sin(math.radians(15))
    phi = 0.5 + margin / 2 - math.sqrt(math.log(2 / 0.01) / (4 * 500))
    assert RULES["published_mean"](still(5), 0.01) == pytest.approx(0.5 * norm.ppf(phi))


def test_se_as_printed_divides_by_one_distance_too_many():
    distance = 2 * math.sin(math.radians(20))
    assert RULES["published_se"](still(5), None) * distance == pytest.approx(plug_in_radius("lipschitz", still(5))[0])


def test_identical_prototypes_abstain():
    statistics = still(0, PROTOTYPES[[0, 0, 1, 2]])
    for rule in ("published_mean", "published_se"):
        assert not RULES[rule](statistics, 0.01) > 0


def test_rivals_that_tie_need_not_be_told_apart():
    """Algorithm 1 (line 16) waits until the second closest is nearer than the third, which here never happens."""
    prototypes = np.stack([unit(0), unit(40), unit(-40)])
    second, third = np.linalg.norm(unit(0) - prototypes[1:], axis=1)
    assert second == pytest.approx(third)
    assert RULES["mean"](still(0, prototypes), 0.01) > 0


def test_published_rules_say_that_they_are_no_guarantee():
    for name in ("published_mean", "published_se"):
        assert "Not a guarantee" in RULES[name].__doc__
