"""Certificates made up, and a job so small that it takes milliseconds."""

import pytest
from toy import LinearEncoder, ToyData

from voxcert.smoothing import Certificate


@pytest.fixture
def toy():
    return LinearEncoder(200).eval(), ToyData()


@pytest.fixture
def certificate():
    """A function that makes a row from rule, radius and utterance, and anything else by name."""

    def make(rule="distribution", radius=0.01, utterance="u0", **changes):
        values = {
            "utterance": utterance,
            "speaker": "a",
            "prediction": "a",
            "rule": rule,
            "radius": radius,
            "abstained": None if radius > 0 else "lower bound not positive",
            "point_radius": 2 * radius,
            "sigma": 0.01,
            "alpha": 1e-3,
            "num_select": 10,
            "num_estimate": 100,
            "num_forwards": 110,
            "seconds": 0.5,
            "seed": 0,
            "waveform_norm": 1.0,
            "num_samples": 200,
            "snr_db": 40.0 if radius > 0 else None,
        }
        return Certificate(**values | changes)

    return make
