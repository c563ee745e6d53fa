import json
import math
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from oracles import SOUND_RULES, pilot_of, random_units, statistics_of

from voxcert.smoothing import Certifier, Statistics, recertify
from voxcert.smoothing.outcome import alpha_left, judge, lower_radius
from voxcert.smoothing.sampler import draw_error

PILOT = replace(pilot_of(np.full((20, 1), 0.5)), voted=1)
STATISTICS = statistics_of(PILOT, np.full((100, 1), 0.5))
ALL_RULES = (*SOUND_RULES, "published_mean", "published_se")


@pytest.mark.parametrize("radius", [math.nan, 0.0, -1.0, -math.inf])
def test_what_is_not_above_zero_abstains(radius):
    outcome = judge("mean", radius, PILOT, STATISTICS)
    assert (outcome.radius, outcome.abstained) == (0.0, "lower bound not positive")
    assert outcome.point_radius > 0


def test_a_positive_radius_is_certified_for_the_class_of_its_rule():
    assert judge("mean", 0.1, PILOT, STATISTICS).prediction == 0
    assert judge("vote", 0.1, PILOT, STATISTICS).prediction == 1
    assert judge("vote", 0.1, PILOT, STATISTICS).abstained is None


def test_nothing_is_certified_without_finite_samples():
    for pilot, statistics in ((None, None), (PILOT, None), (PILOT, replace(STATISTICS, finite=False))):
        assert judge("mean", 0.1, pilot, statistics).abstained == "non-finite or zero embeddings"
    assert lower_radius("mean", replace(STATISTICS, finite=False), 0.01) == 0.0


def test_the_draw_of_the_noise_is_charged_to_alpha():
    charge = draw_error(10**9, 0.01, 2.0**-20)
    assert alpha_left(1e-3, 10**9, 0.01, 2.0**-20) == 1e-3 - charge < 1e-3
    assert alpha_left(1e-3, 10**9, 0.01, None) == 1e-3  # a representation: no promise, no charge
    with pytest.raises(ValueError, match=r"^alpha must be above 8.33e-07, the charge for .*, got 8e-07"):
        alpha_left(8e-7, 10**9, 0.01, 2.0**-20)


def test_a_certificate_at_an_alpha_that_the_draw_costs_is_refused():
    rows, statistics = certifier().examine(WAVEFORM)
    for refused in (lambda: certifier(alpha=1e-9).certify(WAVEFORM), lambda: certifier(alpha=1e-9).predict(WAVEFORM)):
        with pytest.raises(ValueError, match="^alpha must be above .*, got 1e-09"):
            refused()
    with pytest.raises(ValueError, match="^alpha must be above .*, got 1e-09"):
        recertify(rows[0], statistics, 1e-9)


def turned(waveform):
    angle = torch.tanh(waveform.double().sum(dim=1))
    return torch.stack([angle.cos(), angle.sin()] + [torch.zeros_like(angle)] * 6, dim=1)


def certifier(**settings):
    defaults = {"sigma": 0.1, "num_estimate": 300, "batch_size": 50, "rules": ALL_RULES}
    return Certifier(turned, random_units(30, 8), **defaults | settings)


WAVEFORM = torch.full((5,), 0.1)


def same(row, other):
    return {**asdict(row), "seconds": 0} == {**asdict(other), "seconds": 0}


@pytest.mark.parametrize("num_looks", [1, 3])
@pytest.mark.parametrize("alpha", [0.2, 1e-3, 1e-7])
def test_recertifying_equals_certifying_anew(num_looks, alpha):
    looks = {"num_looks": num_looks, "tolerance": 0.0}
    rows, statistics = certifier(alpha=0.01, **looks).examine(WAVEFORM, "u", "3")
    kept = Statistics.from_dict(json.loads(json.dumps(statistics.to_dict())))
    anew = certifier(alpha=alpha, **looks).certify(WAVEFORM, "u", "3")
    for row, other in zip(rows, anew, strict=True):
        assert same(recertify(row, kept, alpha), other)
        assert same(recertify(row, kept), row)


def test_two_halves_give_the_certificate_of_the_whole():
    rows, whole = certifier().examine(WAVEFORM, "u", "3")
    first, last = (certifier().examine(WAVEFORM, "u", samples=ends)[1] for ends in ((0, 150), (150, 300)))
    merged = last.merge(first)
    assert merged.to_dict() == whole.to_dict()
    for row in rows:
        assert same(recertify(row, merged), row)
        half = recertify(row, first)
        assert (half.num_estimate, half.num_forwards) == (150, 250)
        if row.rule in SOUND_RULES:
            assert half.radius < row.radius


@pytest.mark.parametrize("alpha", [0.0, 1.0, math.nan])
def test_alpha_out_of_range_is_refused(alpha):
    rows, statistics = certifier().examine(WAVEFORM)
    with pytest.raises(ValueError, match=r"^alpha must be in \(0, 1\), got"):
        recertify(rows[0], statistics, alpha)
