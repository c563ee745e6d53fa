"""Small diffusion purifiers with weights that do something."""

import pytest
import torch

from tiny import TINY
from voxcert.encoders.ecapa import ECAPA
from voxcert.purifiers.conditioner import Conditioner
from voxcert.purifiers.diffusion import DiffusionPurifier
from voxcert.purifiers.networks import DiffWave, SpectralDiffWave
from voxcert.purifiers.schedule import PurificationScheduler

SMALL = {"channels": 8, "num_layers": 2, "dilation_cycle": 2, "step_dim": 16}


@pytest.fixture
def make():
    """Makes a purifier: TDAP, or DAP where `conditional` is off."""

    def make(kind=DiffWave, conditional=True, **settings):
        torch.manual_seed(0)
        conditioner = Conditioner(num_mels=12, dim=8, num_heads=2) if conditional else None
        network = kind(conditioner, **SMALL)
        for parameter in network.parameters():
            if not parameter.any():  # the last layers start at zero
                torch.nn.init.normal_(parameter, std=0.1)
        return DiffusionPurifier(network, PurificationScheduler(conditional=conditional), **settings).eval()

    return make


@pytest.fixture
def spectral():
    """The kind of network for a CPU."""
    return SpectralDiffWave


@pytest.fixture
def waveform():
    """Three waveforms that sound like nothing, shape (3, 2001)."""
    return 0.1 * torch.randn(3, 2001, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def encoder():
    """A tiny encoder with random weights."""
    return ECAPA(**TINY)
