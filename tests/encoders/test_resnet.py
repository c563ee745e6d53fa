import pytest
import torch
from wespeaker_golden import assert_hears, assert_published, shapes_of

from golden import golden_names
from voxcert.encoders.resnet import DEPTHS, ResNet, ResNetNetwork


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    return ResNet(channels=4, dim=16).eval()


def test_defaults_have_the_published_names_and_output():
    assert_published(ResNet().network, "wespeaker-resnet34")


def test_published_names_and_output_of_resnet221():
    assert_published(ResNet(depth=221).network, "wespeaker-resnet221", rows=slice(1))


@pytest.mark.parametrize(("depth", "millions"), [(34, 6.63), (152, 19.81), (221, 23.79), (293, 28.62)])
def test_number_of_parameters_is_the_published_one(depth, millions):
    """All but ResNet152's are in wespeaker's table of results."""
    with torch.device("meta"):
        network = ResNetNetwork(depth, channels=32, dim=256, num_mels=80)
    assert sum(parameter.numel() for parameter in network.parameters()) // 10_000 == round(100 * millions)


@pytest.mark.parametrize(("depth", "num_blocks"), [(152, (3, 8, 36, 3)), (293, (10, 20, 64, 3))])
def test_other_depths_repeat_the_blocks_of_resnet221(depth, num_blocks):
    published = golden_names("wespeaker-resnet221")["state_dict"]
    expected = {name: shape for name, shape in published.items() if not name.startswith("layer")}
    for layer, number in enumerate(num_blocks, start=1):
        for block in range(number):
            model = f"layer{layer}.{min(block, 1)}."
            found = {name: shape for name, shape in published.items() if name.startswith(model)}
            expected |= {name.replace(model, f"layer{layer}.{block}."): shape for name, shape in found.items()}
    with torch.device("meta"):
        assert shapes_of(ResNetNetwork(depth, channels=32, dim=256, num_mels=80)) == expected


def test_hears_kaldi_filterbanks(encoder, waveform):
    assert_hears(encoder, waveform, "hamming", 32768.0)


def test_a_short_waveform_is_named(encoder, waveform):
    with pytest.raises(ValueError, match="features must have at least 9 frames, got 8: the waveform is too short"):
        encoder(waveform[:, :1679])
    assert torch.isfinite(encoder(waveform[:, :1680])).all()


def test_unknown_depth_is_named():
    assert set(DEPTHS) == {34, 152, 221, 293}
    with pytest.raises(ValueError, match="depth must be one of 34, 152, 221, 293, got 50"):
        ResNet(depth=50)
    with pytest.raises(ValueError, match="num_mels must be a positive multiple of 8, got 81"):
        ResNet(num_mels=81)
