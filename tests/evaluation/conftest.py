"""Certificates made up, and a job so small that it takes milliseconds: noise bursts as speakers, a linear encoder."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from voxcert.data import Utterance
from voxcert.data.identity import planned
from voxcert.smoothing import Certificate


class LinearEncoder(nn.Module):
    """A fixed random projection of the waveform, normalised."""

    def __init__(self, time: int, dim: int = 8):
        super().__init__()
        self.register_buffer("weight", torch.randn(time, dim, generator=torch.Generator().manual_seed(0)))

    def forward(self, waveform):
        """(batch, time) -> (batch, dim)."""
        return F.normalize(waveform @ self.weight, dim=-1)


class ToyData:
    """Four speakers, each a fixed waveform with a little noise; the last test item is a bad file."""

    def __init__(self, time: int = 200, num_per_speaker: int = 3):
        generator = torch.Generator().manual_seed(1)
        self.centers = {name: 0.1 * torch.randn(time, generator=generator) for name in "abcd"}
        self.tests = [
            {
                "utterance": f"{name}{i}",
                "speaker": name,
                "waveform": center + 0.02 * torch.randn(time, generator=generator),
            }
            for name, center in self.centers.items()
            for i in range(num_per_speaker)
        ]
        self.tests.append({"utterance": "d9", "speaker": "d", "error": "d9.wav: empty: the file has 0 bytes"})

    def enrollment_dataloader(self, stage):
        """One batch of the fixed waveforms."""
        return [{"waveform": torch.stack(list(self.centers.values())), "speaker": list(self.centers)}]

    def tested(self, stage):
        """What the tests are about."""
        return [Utterance(one["utterance"], one["utterance"], one["speaker"]) for one in self.tests]

    def plan(self, stage):
        """What the tests are about."""
        return planned([], self.tested(stage))

    def items(self, stage):
        """The tests."""
        return self.tests


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
