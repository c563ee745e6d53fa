"""Speakers who are noise bursts, and a linear encoder: a job about them takes milliseconds."""

import torch
import torch.nn.functional as F
from torch import nn

from voxcert.data import Utterance
from voxcert.data.identity import planned


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
        return [Utterance(o["utterance"], o["utterance"], o["speaker"], text=o.get("text", "")) for o in self.tests]

    def plan(self, stage, texts=False):
        """What the tests are about."""
        return planned([], self.tested(stage), texts)

    def items(self, stage):
        """The tests."""
        return self.tests
