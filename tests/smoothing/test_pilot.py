import pytest
import torch
from oracles import random_units

from voxcert.smoothing.pilot import FEWEST_THRESHOLDS, HIGHEST_THRESHOLD, place_thresholds, select


@pytest.mark.parametrize("num_select", [1, 2, 100])
@pytest.mark.parametrize("num_thresholds", [FEWEST_THRESHOLDS, 7, 16, 24, 65])
def test_thresholds_ascend_within_the_range_of_xi(num_select, num_thresholds):
    for spread in (0.0, 0.02, 2.0):
        xi = (0.3 + spread * torch.randn(num_select, 5, dtype=torch.float64)).clamp(-1, 1)
        thresholds = place_thresholds(xi, num_thresholds)
        assert thresholds.shape == (5, num_thresholds)
        assert (thresholds.diff(dim=1) >= 0).all()
        assert thresholds.min() >= -1
        assert thresholds.max() <= HIGHEST_THRESHOLD


def test_an_encoder_that_jumps_finds_thresholds_just_below_its_values():
    xi = torch.tensor([0.4] * 60 + [-0.2] * 40, dtype=torch.float64)[:, None]
    thresholds = place_thresholds(xi, 24)[0]
    for value in (0.4, -0.2):
        assert ((thresholds < value) & (thresholds > value - 2e-4)).any()


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
