import pytest
import torch
from torch import nn

from voxcert.encoders.representation import SplitEncoder


@pytest.mark.parametrize("at", ["magnitude", "features"])
def test_the_two_halves_make_the_whole(tiny, waveform, at):
    split = SplitEncoder(tiny, at)
    flat = split.represent(waveform)
    width = {"magnitude": 201, "features": 80}[at]
    assert split.width == width
    assert flat.shape == (3, 101 * width)  # 1 s, a frame every 10 ms, centred
    torch.testing.assert_close(split(flat), tiny(waveform), atol=1e-6, rtol=0)


def test_magnitudes_are_those_of_the_waveform(tiny, waveform):
    flat = SplitEncoder(tiny, "magnitude").represent(waveform)
    spectrogram = torch.stft(
        waveform, 400, 160, window=torch.hamming_window(400), pad_mode="constant", return_complex=True
    )
    torch.testing.assert_close(flat.unflatten(1, (-1, 201)), spectrogram.abs().mT, atol=1e-5, rtol=1e-4)


def test_gradients_reach_the_representation(tiny, waveform):
    split = SplitEncoder(tiny, "features")
    flat = split.represent(waveform).detach().requires_grad_()
    split(flat)[:, 0].sum().backward()
    assert torch.isfinite(flat.grad).all()
    assert flat.grad.abs().sum() > 0


def test_what_cannot_be_cut_is_named(tiny):
    with pytest.raises(ValueError, match="only in an encoder with a front-end, got Linear: use waveform"):
        SplitEncoder(nn.Linear(2, 2), "magnitude")
    with pytest.raises(ValueError, match="at must be 'magnitude' or 'features', got 'phase'"):
        SplitEncoder(tiny, "phase")
