"""A tiny encoder with random weights."""

import pytest
import torch

from voxcert.encoders.ecapa import ECAPA

TINY = {"channels": 16, "mfa_channels": 48, "dim": 24, "attention_channels": 8, "se_channels": 8, "res2net_scale": 4}


@pytest.fixture
def tiny():
    torch.manual_seed(0)
    return ECAPA(**TINY).eval()


@pytest.fixture
def waveform():
    return 0.1 * torch.randn(3, 16_000, generator=torch.Generator().manual_seed(0))
