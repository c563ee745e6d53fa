import pytest
import torch

from voxcert.smoothing.rivals import Rivals


def test_xi_is_the_distance_to_the_boundary():
    prototypes = torch.eye(3, dtype=torch.float64)
    embedding = torch.tensor([0.6, 0.8, 0.0], dtype=torch.float64)
    xi = Rivals(prototypes, 1).xi(prototypes @ embedding[:, None])
    assert xi[:, 0].tolist() == [pytest.approx(0.2 / 2**0.5), pytest.approx(0.8 / 2**0.5)]


def test_identical_prototypes_have_no_direction():
    prototypes = torch.eye(3, dtype=torch.float64)[[0, 1, 1]]
    rivals = Rivals(prototypes, 1)
    scores = prototypes @ torch.tensor([0.6, 0.8, 0.0], dtype=torch.float64)[:, None]
    assert rivals.distances.tolist() == [pytest.approx(2**0.5), 0.0]
    assert rivals.xi(scores)[:, 0].tolist() == [pytest.approx(0.2 / 2**0.5), 0.0]
    assert (Rivals(prototypes, 0).distances > 1).all()
