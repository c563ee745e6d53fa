"""Tables of noise at a representation: printed numbers stand beside the place and the sigma that they are about."""

from statistics import NormalDist

import pytest
import torch
from representation_statistics import row_of
from representation_tables import RADII, UNITS, beside_oreilly, largest_radii, spread_beside_oreilly

from table_cells import cells
from voxcert.smoothing import Certificate


def certificates(noise_at, sigma, radii, num_estimate=1000):
    """A recording of each of as many speakers, all named rightly."""
    values = {"sigma": sigma, "alpha": 1e-3, "num_select": 10, "num_estimate": num_estimate, "num_forwards": 10}
    return [
        Certificate(
            f"u{i}", f"s{i}", f"s{i}", "vote", radius, None, radius, seconds=1.0, seed=0, noise_at=noise_at, **values
        )
        for i, radius in enumerate(radii)
    ]


def shares(table):
    return [[cell.split(" [")[0] for cell in cells(line)[: 2 + len(RADII)]] for line in table.splitlines()[2:]]


def test_a_printed_number_stands_beside_the_same_place_and_sigma():
    magnitude = certificates("magnitude", 0.1, [0.2, 0.02])
    waveform = certificates("waveform", 0.1, [0.2, 0.0])
    (first, second) = shares(beside_oreilly([magnitude, waveform]))
    assert first[:5] == ["magnitudes", "0.10", "0.73 / 1.00", "0.68 / 0.50", "0.39 / -"]
    assert second[:5] == ["waveform", "0.10", "0.50", "0.50", "-"]


def test_mel_energies_are_counted_in_their_deviation():
    unit = UNITS["features"]
    (line,) = shares(beside_oreilly([certificates("features", 0.1 * unit, [0.2 * unit, 0.02 * unit])]))
    assert line[0] == "mel energies"
    assert line[1].startswith("0.10 (")
    assert line[2:5] == ["0.99 / 1.00", "0.97 / 0.50", "0.84 / -"]


@pytest.mark.parametrize(("num_estimate", "shown"), [(1000, "0.39 / -"), (2000, "0.39 / 1.00")])
def test_what_so_few_copies_cannot_show_is_a_dash(num_estimate, shown):
    """The largest radii are 2.46 and 2.70 sigma."""
    (line,) = shares(beside_oreilly([certificates("magnitude", 0.1, [0.26], num_estimate)]))
    assert line[4] == shown


def test_the_numbers_of_a_recording_are_described():
    numbers = torch.arange(-100.0, 101.0)[torch.randperm(201, generator=torch.Generator().manual_seed(0))]
    row = row_of("u", "s", "magnitude", numbers.view(3, 67))
    assert (row.size, row.smallest, row.low, row.high, row.largest) == (201, -100, -98, 98, 100)
    assert row.mean == 0
    assert row.mean_square == pytest.approx(sum(i * i for i in range(-100, 101)) / 201)


def test_the_spread_of_all_recordings_is_that_of_their_numbers_together():
    """Two recordings of each of 30 speakers, as many numbers in each."""
    speech = torch.randn(60, 500, generator=torch.Generator().manual_seed(0), dtype=torch.double) + 1
    rows = [row_of(f"u{i}", f"s{i // 2}", "waveform", numbers) for i, numbers in enumerate(speech)]
    (line,) = map(cells, spread_beside_oreilly(rows).splitlines()[2:])
    ends = f"{speech.min().item():.3g} to {speech.max().item():.3g}"
    assert line[:3] == ["waveform", "25,000 / 500", f"-0.989 to 0.985 / {ends}"]
    mean, deviation = speech.mean().item(), speech.std(correction=0).item()
    assert line[5].startswith(f"-2.278e-05 / {mean:.3g} [")
    assert line[6].startswith(f"0.062 / {deviation:.3g} [")
    low, high = map(float, line[6].split("[")[1].rstrip("]").split(", "))
    assert low < deviation < high
    assert high - low < 0.05


def test_the_largest_radius_is_that_of_copies_that_all_agree():
    lines = {line[0]: line[1:] for line in map(cells, largest_radii().splitlines()[2:])}
    assert lines["0.1"] == ["0.246 / 0.2463", "0.320 / 0.3199", "0.381 / 0.3811"]
    for cell, copies in zip(lines["1"], (1_000, 10_000, 100_000), strict=True):
        assert NormalDist().cdf(float(cell.split(" / ")[1])) ** copies == pytest.approx(1e-3, rel=0.02)
