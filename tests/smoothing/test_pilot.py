import json

import numpy as np
import pytest
import torch
from oracles import pilot_of, random_units, two_valued

from voxcert.smoothing.forecast import FEWEST_THRESHOLDS, HIGHEST_THRESHOLD
from voxcert.smoothing.pilot import Pilot, select


@pytest.mark.parametrize("num_select", [1, 2, 100])
@pytest.mark.parametrize("num_thresholds", [FEWEST_THRESHOLDS, 16, 24, 65])
def test_thresholds_ascend_within_the_range_of_xi(num_select, num_thresholds):
    rng = np.random.default_rng(0)
    for spread in (0.0, 0.02, 2.0):
        pilot = pilot_of((0.3 + spread * rng.standard_normal((num_select, 5))).clip(-1, 1), num_thresholds)
        assert pilot.thresholds.shape == pilot.at_quantile.shape == (5, num_thresholds)
        assert (np.diff(pilot.thresholds, axis=1) >= 0).all()
        assert pilot.thresholds.min() >= -1
        assert pilot.thresholds.max() <= HIGHEST_THRESHOLD
        assert (pilot.at_quantile.sum(axis=1) == 4).all()


def test_an_encoder_that_jumps_finds_thresholds_just_below_its_values():
    xi = np.array([0.4] * 60 + [-0.2] * 40)[:, None]
    pilot = pilot_of(xi, 24)
    special = pilot.thresholds[pilot.at_quantile]
    for value in (0.4, -0.2):
        assert ((special < value) & (special > value - 2e-4)).any()


def test_exceedances_are_counted_above_thresholds():
    xi = np.random.default_rng(0).normal(0.1, 0.2, (50, 3)).clip(-1, 1)
    pilot = pilot_of(xi)
    np.testing.assert_array_equal(pilot.exceedances, (xi.T[:, None] > pilot.thresholds[:, :, None]).sum(axis=2))


def test_references_are_probabilities_near_the_truth():
    rng = np.random.default_rng(0)
    for xi in (0.2 + 0.02 * rng.standard_normal((100, 1)), two_valued(100, 0.9, rng)):
        guesses = pilot_of(xi).references(0, 1000, highest=0.999)
        assert guesses.shape == (3, 64)
        assert ((guesses > 0) & (guesses <= 0.999)).all()
    share = (xi > 0).mean()
    assert guesses[1, -1] < share < guesses[2, -1]
    assert guesses[1:, -1] == pytest.approx(share, abs=0.05)


def test_plain_data_is_exact():
    pilot = pilot_of(np.random.default_rng(0).normal(0.1, 0.2, (50, 3)))
    copy = Pilot.from_dict(json.loads(json.dumps(pilot.to_dict())))
    assert copy.to_dict() == pilot.to_dict()
    np.testing.assert_array_equal(copy.thresholds, pilot.thresholds)
    for name in ("mean", "spread", "quantiles", "exceedances", "distances"):
        assert getattr(copy, name).dtype == getattr(pilot, name).dtype


def test_votes_and_mean_embedding_may_select_different_classes():
    prototypes = torch.eye(3, dtype=torch.float64)
    weak = torch.tensor([0.6, 0.55, 0.0], dtype=torch.float64)
    strong = torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64)
    pilot = select(torch.stack([weak / weak.norm()] * 3 + [strong] * 2), prototypes, 8)
    assert (pilot.voted, pilot.predicted, pilot.tied) == (0, 1, False)


def test_identical_prototypes_are_noticed_only_if_they_win():
    prototypes = random_units(4, 16).double()
    prototypes[3] = prototypes[2]
    assert select(prototypes[2].repeat(5, 1), prototypes, 8).tied
    assert not select(prototypes[0].repeat(5, 1), prototypes, 8).tied


def test_nothing_is_selected_from_embeddings_that_are_not_finite():
    embeddings = torch.eye(3, dtype=torch.float64)
    embeddings[1, 1] = torch.nan
    assert select(embeddings, torch.eye(3, dtype=torch.float64), 8) is None
