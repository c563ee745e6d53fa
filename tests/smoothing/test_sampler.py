import numpy as np
import pytest
import torch

from voxcert.smoothing.sampler import CHUNK, ESTIMATE_START, NoisySampler, chunk_seed

WAVEFORM = torch.linspace(-0.5, 0.5, 50)


def sampler(seed=0, utterance="u", sigma=0.1):
    return NoisySampler(WAVEFORM, sigma, seed, utterance)


def drawn(batch_size, start=0, stop=100, **settings):
    source = sampler(**settings)
    ends = [*range(start, stop, batch_size), stop]
    return torch.cat([source.batch(a, b).clone() for a, b in zip(ends, ends[1:], strict=False)])


@pytest.mark.parametrize("batch_size", [1, 7, 16, 64])
def test_samples_do_not_depend_on_the_batch_size(batch_size):
    assert torch.equal(drawn(batch_size), drawn(100))


def test_samples_do_not_depend_on_what_was_drawn_before():
    source = sampler()
    later = source.batch(40, 60).clone()
    source.batch(3, 45)
    assert torch.equal(source.batch(40, 60), later)
    assert torch.equal(drawn(60, 40, 60), later)


def test_samples_do_not_depend_on_the_number_of_threads():
    threads = torch.get_num_threads()
    expected = drawn(64)
    try:
        torch.set_num_threads(1 if threads > 1 else 2)
        assert torch.equal(drawn(64), expected)
    finally:
        torch.set_num_threads(threads)


def test_noise_is_standard_normal_times_sigma_around_the_waveform():
    noise = (drawn(64, stop=4000) - WAVEFORM).double() / 0.1
    assert noise.mean().abs() < 0.01
    assert noise.std() == pytest.approx(1.0, abs=0.01)
    assert (noise < 1.0).double().mean() == pytest.approx(0.8413, abs=0.004)
    correlations = torch.corrcoef(noise.T).fill_diagonal_(0)
    assert correlations.abs().max() < 6 / 4000**0.5


def test_seed_and_utterance_change_everything():
    assert not torch.isclose(drawn(64), drawn(64, seed=1)).any(dim=1).all()
    assert not torch.isclose(drawn(64), drawn(64, utterance="v")).any(dim=1).all()
    assert torch.equal(drawn(64), drawn(64))


def test_all_samples_differ_also_between_selection_and_estimation():
    rows = torch.cat([drawn(64, stop=500), drawn(64, start=ESTIMATE_START, stop=ESTIMATE_START + 500)])
    assert len(torch.unique(rows[:, 0])) == 1000


def test_the_buffer_is_reused():
    source = sampler()
    first = source.batch(0, 32).data_ptr()
    assert source.batch(32, 64).data_ptr() == first
    assert source.batch(64, 65).data_ptr() == first


def test_chunk_seeds_differ_in_the_bits_that_the_cpu_generator_reads():
    key = 2**64 - 5  # the sum with a chunk index wraps around
    chunks = [*range(100_000), *range(ESTIMATE_START // CHUNK, ESTIMATE_START // CHUNK + 100_000)]
    low = np.array([chunk_seed(key, chunk) & 0xFFFFFFFF for chunk in chunks])
    assert len(np.unique(low)) == len(chunks)
    assert 0 <= chunk_seed(key, 0) < 2**63


def test_the_cpu_generator_reads_the_low_bits_only():
    """If this ever fails, the seeds above are more careful than they need to be."""
    same = [torch.randn(4, generator=torch.Generator().manual_seed(seed)) for seed in (7, 7 + 2**32)]
    assert torch.equal(*same)
