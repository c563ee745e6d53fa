"""A base classifier that reads rounding errors, after Voracek and Hein 2023: what float32 sums give away of x."""

import torch

from voxcert.smoothing import Certifier
from voxcert.smoothing.sampler import NoisySampler

PROTOTYPES = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
SIGMA = 0.35
X = torch.ones(1)


def reads_last_bits(waveform):
    """Embedding u for multiples of 2^-24, which is all that rounding leaves of 1 + noise; -u for finer numbers."""
    coarse = (waveform[:, 0].double() * 2.0**24).frac() == 0
    sign = torch.where(coarse, 1.0, -1.0)
    return torch.stack([sign, torch.zeros_like(sign)], dim=1)


def share_of_u(x, grid):
    return float(
        (reads_last_bits(NoisySampler(x, SIGMA, 1, "another", grid).batch(0, 20_000))[:, 0] > 0).double().mean()
    )


def certify(noise_at):
    settings = {"sigma": SIGMA, "num_estimate": 10_000, "batch_size": 1000, "noise_at": noise_at}
    return Certifier(reads_last_bits, PROTOTYPES, rules=("vote", "distribution"), **settings).certify(X)


def test_plain_float32_noise_gives_a_false_certificate():
    """A waveform within the radius where the smoothed prediction is another one: what the grid is there for."""
    for row in certify("features"):
        assert row.grid is None
        assert row.prediction == "0"
        assert row.radius > 1.0
    assert share_of_u(torch.zeros(1), None) < 0.45  # and yet at distance 1 the other class wins


def test_grid_noise_gives_none():
    for row in certify("waveform"):
        assert (row.prediction, row.grid) == ("0", 2.0**-20)
        assert row.radius > 1.0
    for distance in (1.0, 0.5, 0.25 + 2.0**-20):
        assert share_of_u(X - distance, 2.0**-20) == 1.0
