"""Three speakers in the plane for whom the published radius, which looks at the runner-up alone, is 7.7 times too big.

f = u(50) on a half-space of Gaussian mass 0.574250, u(70) elsewhere; the prediction flips to u(120) at 0.1872 sigma.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from oracles import SOUND_RULES, pilot_of, statistics_of, unit
from scipy.stats import norm

from voxcert.smoothing import Certifier
from voxcert.smoothing.distribution import riemann_radii
from voxcert.smoothing.plug_in import plug_in_radius
from voxcert.smoothing.rules import RULES
from voxcert.smoothing.statistics import XI_UNIT, Statistics

MASS = 0.574250
OFFSET = norm.ppf(MASS)  # 0.1872: distance of x to the boundary of the half-space in units of sigma
PROTOTYPES = np.stack([unit(0), unit(-2), unit(120)])
VALUES = np.stack([unit(50), unit(70)])


def smoothed(radius: float) -> np.ndarray:
    """Smoothed embedding after moving x by radius * sigma towards the boundary."""
    share = norm.cdf(OFFSET - radius)
    return share * VALUES[0] + (1 - share) * VALUES[1]


def exact(num_samples: int = 10**8) -> Statistics:
    """Statistics of so many samples that they are as good as the distribution itself."""
    units = PROTOTYPES[0] - PROTOTYPES[1:]
    distances = np.linalg.norm(units, axis=1)
    xi = (units / distances[:, None]) @ VALUES.T  # (rivals, values)
    counts = np.array([round(MASS * num_samples), num_samples - round(MASS * num_samples)])
    pilot = pilot_of(np.repeat(xi.T, [57, 43], axis=0), 400, distances)
    one = statistics_of(pilot, xi.T)  # one sample of either value
    bins = [grid.searchsorted(row) for grid, row in zip(pilot.thresholds, xi, strict=True)]
    return replace(
        one,
        num_planned=num_samples,
        ranges=((0, num_samples),),
        vote_counts=np.array([counts[0], 0, counts[1]]),
        counts=np.stack([np.bincount(row, weights=counts, minlength=401).astype(np.int64) for row in bins]),
        xi_sum=np.round(xi @ counts / XI_UNIT).astype(np.int64),
    )


class Switch:
    """The counterexample as an encoder of two-sample waveforms at x = 0, sigma = 1."""

    def __call__(self, waveform):
        """Embeddings (batch, 2)."""
        near = waveform[:, :1] > -OFFSET
        return torch.where(near, *torch.tensor(VALUES, dtype=torch.float32))


def test_the_prediction_flips_where_the_text_says():
    assert OFFSET == pytest.approx(0.1872, abs=5e-5)
    assert (PROTOTYPES @ smoothed(0.0)).argmax() == 0
    assert (PROTOTYPES @ smoothed(OFFSET - 1e-3)).argmax() == 0
    assert (PROTOTYPES @ smoothed(OFFSET + 1e-3)).argmax() == 2


def test_the_published_radius_is_far_beyond_the_flip():
    claimed = RULES["published_mean"](exact(), 1e-3)
    assert claimed == pytest.approx(1.435, abs=2e-3)
    assert claimed > 7 * OFFSET


def test_sound_rules_on_the_exact_distribution():
    statistics = exact()
    assert plug_in_radius("mean", statistics)[0] == pytest.approx(0.0323, abs=1e-4)
    assert plug_in_radius("lipschitz", statistics)[0] == pytest.approx(0.0323, abs=1e-4)
    for rule in SOUND_RULES:
        for alpha in (1e-3, 0.5):
            assert 0 < RULES[rule](statistics, alpha) <= OFFSET
    assert RULES["distribution"](statistics, 1e-3) > 0.98 * OFFSET  # tight but for the steps of radii and thresholds


def test_the_margin_at_every_threshold_is_exact_here():
    xi = np.sort((PROTOTYPES[0] - PROTOTYPES[2]) @ VALUES.T / np.linalg.norm(PROTOTYPES[0] - PROTOTYPES[2]))
    radius = riemann_radii(xi[None], np.array([[1.0, MASS]]))[0]
    assert radius == pytest.approx(0.1872, abs=5e-5)
    assert OFFSET - 1e-4 < radius <= OFFSET + 1e-9


@pytest.mark.parametrize("num_looks", [1, 4])
def test_certificates_from_samples(num_looks):
    certifier = Certifier(
        Switch(),
        torch.tensor(PROTOTYPES, dtype=torch.float32),
        sigma=1.0,
        alpha=0.05,
        num_select=400,
        num_estimate=200_000,
        num_looks=num_looks,
        rules=(*SOUND_RULES, "published_mean", "published_se"),
        batch_size=20_000,
    )
    certificates = {row.rule: row for row in certifier.certify(torch.zeros(2))}
    assert certificates["published_mean"].radius > 1.3
    for rule in SOUND_RULES:
        assert certificates[rule].prediction == "0"
        assert certificates[rule].radius <= OFFSET
    assert certificates["distribution"].radius > 0.15
    assert certificates["vote"].radius > 0.15
