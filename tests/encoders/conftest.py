"""A tiny encoder with random weights."""

import pytest
import torch

from tiny import TINY
from voxcert.encoders.ecapa import ECAPA


@pytest.fixture
def tiny():
    torch.manual_seed(0)
    return ECAPA(**TINY).eval()


@pytest.fixture
def waveform():
    return 0.1 * torch.randn(3, 16_000, generator=torch.Generator().manual_seed(0))
