import pytest
import torch
from wespeaker_golden import assert_hears, assert_published, shapes_of

from voxcert.encoders.eres2net import ERes2Net, ERes2NetNetwork
from voxcert.encoders.networks.eres2net import AttentiveFusion, SummedBlock


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    return ERes2Net(channels=4, dim=16).eval()


def test_defaults_have_the_published_names_and_output():
    assert_published(ERes2Net().network, "wespeaker-eres2net34_base")


def test_published_names_and_output_of_large():
    assert_published(ERes2Net(channels=64).network, "wespeaker-eres2net34_large", rows=slice(1))


def test_shapes_of_the_mandarin_network():
    """Expansion 4 and three groups of 24 / 64 of the stage's width, as in 3D-Speaker's ERes2Net-huge."""
    with torch.device("meta"):
        shapes = shapes_of(ERes2NetNetwork(64, 192, expansion=4, base_width=24, res2net_scale=3, num_mels=80))
    assert shapes["layer1.0.conv1.weight"] == [72, 64, 1, 1]
    assert shapes["layer2.3.convs.2.weight"] == [48, 48, 3, 3]
    assert shapes["layer3.0.conv2_1.weight"] == [96, 96, 3, 3]
    assert shapes["layer3.5.fuse_models.1.local_att.0.weight"] == [24, 192, 1, 1]
    assert shapes["layer4.2.conv3.weight"] == [2048, 576, 1, 1]
    assert shapes["layer3_downsample.weight"] == [2048, 1024, 3, 3]
    assert shapes["seg_1.weight"] == [192, 40960]
    assert "layer3.0.convs.2.weight" not in shapes


def test_fusion_without_attention_is_the_sum():
    fusion = AttentiveFusion(8).eval()
    torch.nn.init.zeros_(fusion.local_att[3].weight)
    torch.nn.init.zeros_(fusion.local_att[3].bias)
    x, y = torch.randn(2, 2, 8, 3, 5)
    torch.testing.assert_close(fusion(x, y), x + y)


def test_activations_are_clipped_at_twenty():
    torch.manual_seed(0)
    block = SummedBlock(4, 8, 1, expansion=2, base_width=32, num_groups=2).eval()
    with torch.no_grad():
        output = block(1e4 * torch.randn(1, 4, 8, 8))
    assert output.min() == 0
    assert output.max() == 20


def test_hears_kaldi_filterbanks(encoder, waveform):
    assert_hears(encoder, waveform, "hamming", 32768.0)


def test_a_short_waveform_is_named(encoder, waveform):
    with pytest.raises(ValueError, match="features must have at least 9 frames, got 8: the waveform is too short"):
        encoder(waveform[:, :1679])
    assert torch.isfinite(encoder(waveform[:, :1680])).all()


def test_impossible_widths_are_named():
    with pytest.raises(ValueError, match="num_mels must be a positive multiple of 8, got 81"):
        ERes2Net(num_mels=81)
    with pytest.raises(ValueError, match="base_width must be at least 16 for 4 channels, got 15"):
        ERes2Net(channels=4, base_width=15)
