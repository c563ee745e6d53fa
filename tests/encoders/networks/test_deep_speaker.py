import pytest
import torch

from golden import golden_names, golden_state, golden_tensors
from voxcert.encoders.networks.deep_speaker import ResCNN, SameConv2d, _clipped


def test_keras_layers_give_the_same_output():
    """37 frames and 32 bands: odd and even sizes are padded; units are clipped at both ends."""
    network = ResCNN(num_mels=32, channels=4, dim=24).eval()
    shapes = golden_names("deep_speaker-rescnn")["state_dict"]
    network.load_state_dict(golden_state(shapes))
    arrays = golden_tensors("deep_speaker-rescnn")
    with torch.no_grad():
        output = network(arrays["input"])
    scale = arrays["output"].abs().max()
    torch.testing.assert_close(output / scale, arrays["output"] / scale, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (4, [1 + 2 + 3 + 4, 2 + 3 + 4]),  # one zero before, two after: windows start at -1 and at 1
        (5, [1 + 2 + 3, 1 + 2 + 3 + 4 + 5, 3 + 4 + 5]),  # two zeros on either side
        (1, [1]),
    ],
)
def test_same_padding_by_hand(size, expected):
    conv = SameConv2d(1, 1, (1, 5), stride=2, bias=False)
    torch.nn.init.ones_(conv.weight)
    row = torch.arange(1.0, size + 1)
    assert conv(row.view(1, 1, 1, size)).flatten().tolist() == expected
    tall = SameConv2d(1, 1, (5, 1), stride=2, bias=False)
    torch.nn.init.ones_(tall.weight)
    assert tall(row.view(1, 1, size, 1)).flatten().tolist() == expected


@pytest.mark.parametrize(("frames", "left"), [(160, 10), (155, 10), (161, 11), (16, 1), (1, 1)])
def test_four_stages_divide_by_sixteen_and_round_up(frames, left):
    network = ResCNN(num_mels=32, channels=1, dim=2)
    assert network.stages(torch.zeros(1, 1, frames, 32)).shape == (1, 8, left, 2)


def test_units_are_clipped_at_twenty():
    assert _clipped(torch.tensor([-1.0, 0.5, 20.0, 21.0])).tolist() == [0.0, 0.5, 20.0, 20.0]


def test_default_has_the_published_number_of_weights():
    """24.16 M in convolutions and the linear layer."""
    with torch.device("meta"):
        network = ResCNN(num_mels=64, channels=64, dim=512)
    layers = [module for module in network.modules() if isinstance(module, torch.nn.Conv2d | torch.nn.Linear)]
    assert sum(parameter.numel() for layer in layers for parameter in layer.parameters()) == 24_158_848
