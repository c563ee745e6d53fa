import pytest
import torch
from oracles import random_units

from voxcert.smoothing.embedder import Embedder, filled, unit_embeddings
from voxcert.smoothing.sampler import NoisySampler


def test_half_precision_and_rounding_are_normalised_away():
    embeddings, deviation = unit_embeddings(random_units(50, 16).half(), 50, 16)
    assert embeddings.dtype == torch.float64
    assert deviation < 1e-3
    torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(50, dtype=torch.float64), rtol=1e-14, atol=0)


def test_a_zero_embedding_is_unusable_and_no_error():
    embeddings, deviation = unit_embeddings(torch.tensor([[0.0, 0.0], [0.0, 1.0]]), 2, 2)
    assert embeddings[0].isnan().all()
    assert embeddings[1].tolist() == [0.0, 1.0]
    assert deviation == 0.0


@pytest.mark.parametrize("scale", [0.99, 1.01])
def test_norms_are_looked_at_before_anything_is_embedded(scale):
    embedder = Embedder(lambda waveform: scale * torch.nn.functional.normalize(waveform, dim=1), 3, 4)
    with pytest.raises(ValueError, match=r"embeddings of unit norm .within 0.001., got a norm that is off by 0.01"):
        embedder.settle(NoisySampler(torch.ones(3), 0.1, 0, "u"), 4)


@pytest.mark.parametrize(("start", "stop"), [(0, 10), (0, 8), (3, 4)])
def test_every_batch_has_one_shape(start, stop):
    shapes = set()

    def encoder(waveform):
        shapes.add(tuple(waveform.shape))
        return torch.nn.functional.normalize(waveform, dim=1)

    sampler = NoisySampler(torch.ones(3), 0.1, 0, "u")
    embedder = Embedder(encoder, 3, 4)
    got = torch.cat([batch.clone() for batch in embedder.embed(sampler, start, stop)])
    assert shapes == {(4, 3)}
    expected = torch.nn.functional.normalize(sampler.batch(start, stop).double(), dim=1)
    torch.testing.assert_close(got, expected, atol=1e-6, rtol=0)


def test_a_batch_size_that_another_thread_halves_meanwhile_loses_no_sample():
    sampler = NoisySampler(torch.ones(3), 0.1, 0, "u")
    embedder = Embedder(lambda waveform: torch.nn.functional.normalize(waveform, dim=1), 3, 4)
    batches = embedder.embed(sampler, 0, 10)
    got = len(next(batches))
    embedder.batch_size = 2
    assert got + sum(len(batch) for batch in batches) == 10


@pytest.mark.parametrize(("num_samples", "batch_size", "rows"), [(1, 8, 8), (8, 8, 8), (9, 8, 16), (5, 1, 5)])
def test_as_many_rows_are_computed_as_are_said(num_samples, batch_size, rows):
    computed = []

    def encoder(waveform):
        computed.append(len(waveform))
        return torch.nn.functional.one_hot(torch.zeros(len(waveform), dtype=torch.long), 3).float()

    embedder = Embedder(encoder, 3, batch_size)
    embeddings = list(embedder.embed(NoisySampler(torch.zeros(10), 0.1, 0, "u"), 0, num_samples))
    assert sum(map(len, embeddings)) == num_samples
    assert sum(computed) == filled(num_samples, batch_size) == rows
