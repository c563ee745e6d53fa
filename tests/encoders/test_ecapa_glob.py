import pytest
import torch
from wespeaker_golden import assert_hears, assert_published

from voxcert.encoders.ecapa_glob import AttentivePooling, ECAPAGlob

TINY = {"channels": 16, "mfa_channels": 24, "dim": 16, "attention_channels": 4, "se_channels": 4}


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    return ECAPAGlob(**TINY).eval()


@pytest.mark.parametrize("channels", [512, 1024])
def test_published_names_and_output(channels):
    assert_published(ECAPAGlob(channels).network, f"wespeaker-ecapa_tdnn_glob_c{channels}")


def test_pooling_without_attention_is_mean_and_standard_deviation():
    pooling = AttentivePooling(3, 4)
    torch.nn.init.zeros_(pooling.linear2.weight)
    x = torch.randn(2, 3, 50, generator=torch.Generator().manual_seed(0))
    expected = torch.cat([x.mean(dim=-1), x.std(dim=-1, correction=0)], dim=1)
    torch.testing.assert_close(pooling(x), expected)


def test_pooling_attends_to_the_frame_with_all_the_weight():
    pooling = AttentivePooling(1, 1)
    with torch.no_grad():
        pooling.linear1.weight.copy_(torch.tensor([1.0, 0.0, 0.0])[None, :, None])
        pooling.linear1.bias.zero_()
        pooling.linear2.weight.fill_(200.0)
    pooled = pooling(torch.tensor([[[0.0, 0.5, 3.0]]]))  # tanh: 0, 0.46, 0.995
    torch.testing.assert_close(pooled, torch.tensor([[3.0, 1e-7**0.5]]), atol=1e-6, rtol=0)


def test_hears_kaldi_filterbanks(encoder, waveform):
    assert_hears(encoder, waveform, "hamming", 32768.0)


def test_a_short_waveform_is_named(encoder, waveform):
    with pytest.raises(ValueError, match="features must have at least 2 frames, got 1: the waveform is too short"):
        encoder(waveform[:, :559])
    assert torch.isfinite(encoder(waveform[:, :560])).all()


def test_impossible_widths_are_named():
    with pytest.raises(ValueError, match="channels must be a positive multiple of 8, got 20"):
        ECAPAGlob(channels=20)
