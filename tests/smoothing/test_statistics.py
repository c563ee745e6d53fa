import numpy as np
import pytest
import torch
from oracles import SOUND_RULES, random_units, statistics_of

from voxcert.smoothing import RULES
from voxcert.smoothing.embedder import unit_embeddings
from voxcert.smoothing.pilot import place_thresholds
from voxcert.smoothing.statistics import favourable
from voxcert.smoothing.tally import Rivals, Tally


@pytest.mark.parametrize("sizes", [[60], [1] * 60, [7, 50, 3]])
def test_tally_counts_what_numpy_counts(sizes):
    prototypes, embeddings = random_units(6, 5).double(), random_units(60, 5, seed=1).double()
    thresholds = torch.linspace(-0.9, 0.9, 7, dtype=torch.float64).repeat(5, 1)
    tally = Tally(prototypes, voted=1, predicted=2, thresholds=thresholds, sigma=0.1)
    for batch in embeddings.split(sizes):
        tally.add(batch)
    result = tally.statistics()
    units = (prototypes[2] - prototypes[[0, 1, 3, 4, 5]]).numpy()
    xi = embeddings.numpy() @ (units / np.linalg.norm(units, axis=1, keepdims=True)).T
    expected = statistics_of(xi, thresholds.numpy())
    for name in ("xi_sum", "xi_square_sum", "xi_mean", "xi_variance"):
        np.testing.assert_allclose(getattr(result, name), getattr(expected, name), atol=1e-12)
    np.testing.assert_array_equal(result.exceedances, expected.exceedances)
    np.testing.assert_array_equal(result.joint_exceedances, expected.joint_exceedances)
    np.testing.assert_allclose(result.xi_variance, xi.var(axis=0, ddof=1))
    np.testing.assert_allclose(result.embedding_sum, embeddings.sum(dim=0))
    votes = np.bincount((embeddings @ prototypes.T).argmax(dim=1), minlength=6)
    np.testing.assert_array_equal(result.vote_counts, votes)
    assert (result.num_samples, result.voted, result.predicted, result.sigma) == (60, 1, 2, 0.1)
    assert result.exceedances.dtype == np.int64


def test_exceeding_a_threshold_is_strict():
    prototypes = torch.tensor([[1.0, 0.0], [-1.0, 0.0]], dtype=torch.float64)
    tally = Tally(prototypes, 0, 0, torch.tensor([[-1.0, 0.5, 0.5, 0.75]], dtype=torch.float64), 1.0)
    tally.add(torch.tensor([[0.5, 0.75**0.5], [-1.0, 0.0]], dtype=torch.float64))
    assert tally.statistics().exceedances.tolist() == [[1, 0, 0, 0]]


def test_a_result_is_not_changed_by_later_samples():
    prototypes = random_units(3, 4).double()
    tally = Tally(prototypes, 0, 0, torch.zeros(2, 6, dtype=torch.float64), 1.0)
    tally.add(prototypes)
    first = tally.statistics()
    counts = first.vote_counts.copy()
    tally.add(prototypes)
    np.testing.assert_array_equal(first.vote_counts, counts)


def test_identical_prototypes_have_no_direction():
    prototypes = torch.eye(3, dtype=torch.float64)[[0, 1, 1]]
    rivals = Rivals(prototypes, 1)
    scores = prototypes @ torch.tensor([0.6, 0.8, 0.0], dtype=torch.float64)[:, None]
    assert rivals.tied
    assert rivals.xi(scores)[:, 0].tolist() == [pytest.approx(0.2 / 2**0.5), 0.0]
    assert not Rivals(prototypes, 0).tied


def test_half_precision_and_rounding_are_normalised_away():
    embeddings, deviation = unit_embeddings(random_units(50, 16).half(), 50, 16)
    assert embeddings.dtype == torch.float64
    assert deviation < 1e-3
    torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(50, dtype=torch.float64), rtol=1e-14, atol=0)


def samples(num_samples, rng):
    return np.clip(0.1 + 0.3 * rng.standard_normal((num_samples, 4)), -1, 1)


@pytest.mark.parametrize("rule", SOUND_RULES)
def test_favourable_statistics_promise_at_least_what_comes(rule):
    rng = np.random.default_rng(0)
    thresholds = place_thresholds(torch.tensor(samples(100, rng)), 12).numpy()
    missed = 0
    for _ in range(100):
        xi = samples(2000, rng)
        promise = RULES[rule](favourable(statistics_of(xi[:250], thresholds), 2000, 0.01), 0.01)
        missed += RULES[rule](statistics_of(xi, thresholds), 0.01) > promise
    assert missed <= 5


def test_favourable_statistics_of_perfect_samples_are_all_perfect():
    best = favourable(statistics_of(np.ones((10, 2)), np.zeros((2, 3))), 1000, 0.01)
    assert best.num_samples == 1000
    assert (best.exceedances == 1000).all()
    assert best.vote_counts[0] == 1000
    np.testing.assert_allclose(best.xi_mean, 1.0)
