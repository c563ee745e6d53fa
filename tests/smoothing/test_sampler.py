import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from scipy.stats import norm

from voxcert.smoothing.sampler import (
    ESTIMATE_START,
    GRID,
    LARGEST_SIGMA,
    RESOLUTION,
    NoisySampler,
    draw_error,
    round_to_grid,
)

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
    assert len(torch.unique(rows, dim=0)) == 1000


def test_the_buffer_is_reused():
    source = sampler()
    first = source.batch(0, 32).data_ptr()
    assert source.batch(32, 64).data_ptr() == first
    assert source.batch(64, 65).data_ptr() == first


@pytest.mark.parametrize("sigma", [0.003, 0.1, 0.9])
def test_sums_are_exact(sigma):
    source = NoisySampler(WAVEFORM, sigma, 0, "u")
    rows = source.batch(0, 200)
    noise = rows - source.waveform
    assert torch.equal(noise + source.waveform, rows)
    assert torch.equal(rows.double() - source.waveform.double(), noise.double())
    assert torch.equal((rows / GRID).round() * GRID, rows)
    plain = NoisySampler(WAVEFORM, sigma, 0, "u", grid=None).batch(0, 200)
    assert not torch.equal((plain / GRID).round() * GRID, plain)


def test_noise_is_the_rounded_gaussian_of_every_waveform_alike():
    here, there = (NoisySampler(x, 0.1, 0, "u").batch(0, 50).double() - x for x in (WAVEFORM * 0, WAVEFORM * 0 + 3.5))
    assert torch.equal(here, there)


def test_sixteen_bit_audio_is_on_the_grid():
    audio = torch.randint(-(2**15), 2**15, (1000,), generator=torch.Generator().manual_seed(0)) / 2**15
    assert torch.equal(round_to_grid(audio), audio)
    assert (round_to_grid(WAVEFORM) - WAVEFORM).abs().max() <= GRID / 2


def test_waveforms_too_large_for_exact_sums_are_refused():
    NoisySampler(WAVEFORM + 14.0, 0.1, 0, "u")
    with pytest.raises(
        ValueError, match="^sigma and waveform must be .* at most 16 .*, got sigma 0.1 and a peak of 15.5"
    ):
        NoisySampler(WAVEFORM + 15.0, 0.1, 0, "u")
    NoisySampler(WAVEFORM + 15.0, 0.1, 0, "u", grid=None)
    NoisySampler(2.0 * WAVEFORM, LARGEST_SIGMA, 0, "u")


def test_the_whole_seed_counts():
    assert not torch.equal(drawn(64, seed=7), drawn(64, seed=7 + 2**64))
    assert not torch.equal(drawn(64, seed=7), drawn(64, seed=-7))


def test_numbers_on_a_finer_lattice_miss_cells_as_the_charge_says():
    """One layer of a ziggurat, counted exactly: 2^52 places up to 3.65, rounded to multiples of the grid's step.

    Each share is off by far more than 2^-52, since every border between two steps cuts the lattice somewhere.
    """
    sigma, places = Fraction(0.01), 2**52
    width = Fraction(GRID) / sigma / (Fraction(3.6541528853610088) / places)  # of a cell, in places
    borders = [math.ceil((k + Fraction(1, 2)) * width) for k in range(20_000)]
    counts = np.diff(np.array(borders, dtype=object))
    shares = np.array([float((count - width) / width) for count in counts])
    square = np.sqrt(np.mean(shares**2))
    per_number = draw_error(2, 0.01, GRID)  # the root mean square of the shares, as it is charged
    assert 2.0**-50 * 100 < square < per_number < 20 * square


@pytest.mark.parametrize("ratio", [0.3, 1.0, 10.0, 1000.0])  # sigma in steps of the grid
def test_the_charge_covers_the_worst_displacement(ratio):
    """All borders moved by `RESOLUTION` the wrong way, in standard deviations: sums over all cells."""
    upper = (np.arange(int(9 * ratio) + 2) + 0.5) / ratio
    lower = np.concatenate([[-upper[0]], upper[:-1]])
    mass = np.where(lower < 0, norm.cdf(upper) - norm.cdf(lower), norm.sf(lower) - norm.sf(upper))
    moved = RESOLUTION * (norm.pdf(lower) + norm.pdf(upper))
    both_sides = np.where(np.arange(len(mass)) == 0, 1, 2)
    divergence = (both_sides * moved**2 / mass)[mass > 0].sum()
    for num_values in (1, 1000, 48_000_000):
        pinsker = math.sqrt(num_values * divergence / 2)
        assert 0.2 * draw_error(num_values, ratio * GRID, GRID) < pinsker < draw_error(num_values, ratio * GRID, GRID)


def test_what_is_charged():
    assert draw_error(48_000 * 1000, 0.01, GRID) == pytest.approx(1.82e-7, rel=0.01)
    assert draw_error(48_000 * 1000, 0.01, None) == 0.0
