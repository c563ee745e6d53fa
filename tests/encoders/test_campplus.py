import pytest
import torch
import torch.nn.functional as F
from wespeaker_golden import assert_hears, assert_published

from voxcert.encoders.campplus import CAMPPlus, ContextMasking
from voxcert.encoders.checkpoint import load_checkpoint, save_checkpoint

TINY = {"dim": 16, "growth_rate": 4, "bn_size": 2, "init_channels": 8}


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    return CAMPPlus(**TINY).eval()


def test_defaults_have_the_published_names_and_output():
    assert_published(CAMPPlus().network, "wespeaker-campplus")


def test_context_is_the_mean_of_the_utterance_and_of_each_hundred_frames():
    torch.manual_seed(0)
    layer = ContextMasking(4, 3, dilation=2)
    x = torch.randn(2, 4, 230)
    with torch.no_grad():
        pieces = []
        for segment in x.split(100, dim=2):  # 100, 100 and 30 frames
            context = x.mean(dim=2) + segment.mean(dim=2)
            hidden = F.relu(context @ layer.linear1.weight[..., 0].T + layer.linear1.bias)
            mask = torch.sigmoid(hidden @ layer.linear2.weight[..., 0].T + layer.linear2.bias)
            pieces.append(mask[..., None].expand(-1, -1, segment.shape[2]))
        expected = layer.linear_local(x) * torch.cat(pieces, dim=2)
        torch.testing.assert_close(layer(x), expected, atol=1e-6, rtol=0)


def test_hears_kaldi_filterbanks(encoder, waveform):
    assert_hears(encoder, waveform, "hamming", 32768.0)


def test_a_checkpoint_keeps_window_and_scale(tmp_path, waveform):
    torch.manual_seed(0)
    encoder = CAMPPlus(**TINY, window="povey", scale=1.0).eval()
    save_checkpoint(encoder, tmp_path, {})
    loaded = load_checkpoint(tmp_path)
    assert loaded.config == encoder.config
    assert_hears(loaded, waveform, "povey", 1.0)
    torch.testing.assert_close(loaded(waveform), encoder(waveform), atol=1e-6, rtol=0)


def test_a_short_waveform_is_named(encoder, waveform):
    with pytest.raises(ValueError, match="features must have at least 3 frames, got 2: the waveform is too short"):
        encoder(waveform[:, :719])
    assert torch.isfinite(encoder(waveform[:, :720])).all()


def test_mel_bands_that_do_not_divide_are_named():
    with pytest.raises(ValueError, match="num_mels must be a positive multiple of 8, got 84"):
        CAMPPlus(num_mels=84)
