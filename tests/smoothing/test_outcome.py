import math

import numpy as np
import pytest
import torch
from oracles import statistics_of

from voxcert.smoothing.outcome import judge
from voxcert.smoothing.pilot import Pilot

PILOT = Pilot(voted=1, predicted=0, thresholds=torch.zeros(1, 2), tied=False)
STATISTICS = statistics_of(np.full((100, 1), 0.5), np.array([[0.0, 0.4]]))


@pytest.mark.parametrize("radius", [math.nan, 0.0, -1.0, -math.inf])
def test_what_is_not_above_zero_abstains(radius):
    outcome = judge("mean", radius, PILOT, STATISTICS)
    assert (outcome.radius, outcome.abstained) == (0.0, "lower bound not positive")
    assert outcome.point_radius > 0


def test_a_positive_radius_is_certified_for_the_class_of_its_rule():
    assert judge("mean", 0.1, PILOT, STATISTICS).prediction == 0
    assert judge("vote", 0.1, PILOT, STATISTICS).prediction == 1
    assert judge("vote", 0.1, PILOT, STATISTICS).abstained is None


def test_nothing_is_certified_without_finite_samples():
    assert judge("mean", 0.1, None, None).abstained == "non-finite embeddings"
    assert judge("mean", 0.1, PILOT, None).abstained == "non-finite embeddings"
