"""Certified radii against true ones: below them always, and close to them with many samples where a rule is tight."""

import numpy as np
import pytest
import torch
from oracles import RIVALS, SOUND_RULES, HalfSpace, Turn, random_units, unit

from voxcert.smoothing import Certifier

TIGHT_RULES = ("vote", "mean", "distribution")


def certify(encoder, prototypes, waveform, num_estimate, **settings):
    certifier = Certifier(
        encoder,
        torch.as_tensor(prototypes, dtype=torch.float32),
        num_select=2000,  # enough to select the right class where it is a close call
        num_estimate=num_estimate,
        batch_size=5000,
        rules=SOUND_RULES,
        **{"sigma": 0.5} | settings,
    )
    return {row.rule: row for row in certifier.certify(waveform)}


@pytest.mark.parametrize("distance", [0.1, 0.4, 0.9])
def test_half_space_radii_tend_to_the_truth_from_below(distance):
    weight = random_units(1, 8)[0] * 3.0
    encoder = HalfSpace(weight)
    waveform = distance * weight / weight.norm()
    assert encoder.radius(waveform) == pytest.approx(distance, rel=1e-5)
    radii = {n: certify(encoder, RIVALS, waveform, n) for n in (300, 10_000, 200_000)}
    for rule in SOUND_RULES:
        assert all(rows[rule].radius <= distance for rows in radii.values())
        assert radii[300][rule].radius <= radii[10_000][rule].radius < radii[200_000][rule].radius
    for rule in TIGHT_RULES:
        assert radii[200_000][rule].radius > 0.95 * distance - 0.005
        assert radii[200_000][rule].point_radius == pytest.approx(distance, abs=0.01)


@pytest.mark.parametrize("slope", [40.0, 120.0, 2000.0])
@pytest.mark.parametrize("offset", [0.05, 0.3, 0.8])
def test_soft_encoders_are_never_certified_beyond_the_flip(slope, offset):
    """Three speakers; the class in the middle has a rival on either side at different distances."""
    sigma, limit = 0.5, 70.0
    prototypes = np.stack([unit(60), unit(-60), unit(-75)])
    encoder = Turn(slope, limit)
    truth = encoder.embedding_radius(offset, sigma, prototypes, predicted=0)
    rows = certify(encoder, prototypes, offset * encoder.weight, 20_000)
    for rule in ("mean", "lipschitz", "distribution"):
        assert rows[rule].prediction == "0"
        assert rows[rule].radius <= truth
    assert rows["distribution"].radius > 0.5 * min(truth, 1.0) - 0.05
    two = certify(encoder, prototypes[:2], offset * encoder.weight, 20_000)
    assert 0.8 * offset - 0.02 < two["vote"].radius <= offset  # the bisector of 60 and -60 degrees is at s = 0


def test_a_rival_between_is_not_certified_beyond_the_flip():
    """The predicted class wins only in a window, so its smoothed prediction flips on both sides."""
    sigma = 0.2
    prototypes = np.stack([unit(0), unit(35), unit(-50)])
    encoder = Turn(60.0, 80.0)
    for offset in (-0.2, 0.0, 0.1):
        truth = encoder.embedding_radius(offset, sigma, prototypes, predicted=0)
        rows = certify(encoder, prototypes, offset * encoder.weight, 20_000, sigma=sigma)
        assert truth < 1.0
        for rule in ("mean", "lipschitz", "distribution"):
            assert rows[rule].radius <= truth
        assert rows["distribution"].radius > 0.3 * truth


def test_distribution_is_well_above_mean_for_an_encoder_that_moves_little():
    encoder = Turn(8.0, 70.0)
    prototypes = np.stack([unit(60), unit(-60)])
    rows = certify(encoder, prototypes, 1.5 * encoder.weight, 1000)
    assert rows["distribution"].radius > 3 * rows["mean"].radius
