"""Noise behind a denoiser: the encoder in training hears what the certified one will."""

import pytest
import torch

from voxcert.purifiers import OneShotDenoiser, load_purifier
from voxcert.training import Denoised, EncoderModule

DAP = "checkpoints/dap-mini"


@pytest.fixture(autouse=True)
def at_the_root(request, monkeypatch):
    monkeypatch.chdir(request.config.rootpath)


def test_what_is_heard_is_what_the_one_shot_denoiser_makes_of_the_noise():
    waveform = 0.06 * torch.randn(2, 8000, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(1)
    heard = Denoised(0.1, DAP).add_noise(waveform)
    torch.manual_seed(1)
    sigma = torch.full((2, 1), 0.1)
    expected = OneShotDenoiser(load_purifier(DAP).eval(), 0.1)(waveform + sigma * torch.randn_like(waveform))
    torch.testing.assert_close(heard, expected)
    assert not heard.requires_grad


def test_the_denoiser_does_not_learn_and_is_in_no_checkpoint(encoder, data, trainer):
    module = EncoderModule(encoder, num_classes=4, noise=Denoised(0.1, DAP))
    before = [one.clone() for one in module.noise.denoiser.parameters()]
    first = next(encoder.parameters()).clone()
    trainer().fit(module, datamodule=data)
    assert not torch.equal(first, next(encoder.parameters()))
    assert all(map(torch.equal, before, module.noise.denoiser.parameters()))
    assert not any("denoiser" in name for name in module.state_dict())


def test_a_denoiser_that_does_not_fit_is_refused(tmp_path):
    with pytest.raises(ValueError, match="sigma must be in"):
        Denoised(9.0, DAP)
    with pytest.raises(ValueError, match="sigma must be positive and finite"):
        Denoised(0.0, DAP)
    with pytest.raises(ValueError, match="checkpoint"):
        Denoised(0.1, str(tmp_path / "nothing"))
