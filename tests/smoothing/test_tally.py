import numpy as np
import pytest
import torch
from oracles import random_units

from voxcert.smoothing.pilot import select
from voxcert.smoothing.tally import Tally

PLAN = {"sigma": 0.1, "num_planned": 60, "num_looks": 1, "start": 0}


def toy(num_speakers=6, dim=5):
    prototypes, embeddings = random_units(num_speakers, dim).double(), random_units(60, dim, seed=1).double()
    return prototypes, embeddings, select(random_units(30, dim, seed=2).double(), prototypes, 16)


@pytest.mark.parametrize("sizes", [[60], [1] * 60, [7, 50, 3]])
def test_counts_what_numpy_counts(sizes):
    prototypes, embeddings, pilot = toy()
    tally = Tally(prototypes, pilot)
    for batch in embeddings.split(sizes):
        tally.add(batch)
    result = tally.statistics(**PLAN)
    units = np.delete((prototypes[pilot.predicted] - prototypes).numpy(), pilot.predicted, axis=0)
    xi = embeddings.numpy() @ (units / np.linalg.norm(units, axis=1, keepdims=True)).T
    np.testing.assert_array_equal(result.exceedances, (xi.T[:, None] > pilot.thresholds[:, :, None]).sum(axis=2))
    assert (result.counts.sum(axis=1) == 60).all()
    np.testing.assert_allclose(result.xi_mean, xi.mean(axis=0), atol=1e-9)
    votes = np.bincount((embeddings @ prototypes.T).argmax(dim=1), minlength=6)
    np.testing.assert_array_equal(result.vote_counts, votes)
    assert (result.num_samples, result.sigma, result.finite, result.complete) == (60, 0.1, True, True)


def test_exceeding_a_threshold_is_strict():
    prototypes = torch.tensor([[1.0, 0.0], [-1.0, 0.0]], dtype=torch.float64)
    pilot = select(torch.tensor([[1.0, 0.0]], dtype=torch.float64), prototypes, 8)
    tally = Tally(prototypes, pilot)
    edge = float(pilot.thresholds[0, 3])
    for xi in (edge, np.nextafter(edge, 2), np.nextafter(edge, -2)):
        tally.add(torch.tensor([[xi, (1 - xi**2) ** 0.5]], dtype=torch.float64))
    above = (pilot.thresholds[0] < edge).sum()
    assert tally.statistics(**PLAN).exceedances[0, above] == 1


def test_a_result_is_not_changed_by_later_samples():
    prototypes, embeddings, pilot = toy()
    tally = Tally(prototypes, pilot)
    tally.add(embeddings)
    first = tally.statistics(**PLAN)
    kept = first.to_dict()
    tally.add(embeddings)
    assert first.to_dict() == kept


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_is_remembered(value):
    prototypes, embeddings, pilot = toy()
    tally = Tally(prototypes, pilot)
    embeddings[3, 1] = value
    tally.add(embeddings)
    tally.add(random_units(5, 5).double())
    assert not tally.statistics(**PLAN).finite
