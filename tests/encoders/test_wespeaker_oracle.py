"""Our networks against wespeaker's own code, at random weights and in sizes that the golden files do not have.

`wespeaker-unofficial` is installed without its dependencies, which its network files do not need.
"""

import sys
from importlib import import_module, util
from types import ModuleType

import pytest
import torch
from torch import nn

from voxcert.encoders.campplus import CAMPPlus
from voxcert.encoders.ecapa_glob import ECAPAGlob
from voxcert.encoders.eres2net import ERes2Net
from voxcert.encoders.resnet import DEPTHS, ResNet


@pytest.fixture
def wespeaker(monkeypatch):
    """A function that imports a module of networks of wespeaker, without what the package itself would import."""
    spec = util.find_spec("wespeaker")
    if spec is None:
        pytest.skip("needs wespeaker's code: pip install --no-deps wespeaker-unofficial==0.0.2 (make setup does)")
    package = ModuleType("wespeaker")
    package.__path__ = list(spec.submodule_search_locations)
    monkeypatch.setitem(sys.modules, "wespeaker", package)
    return lambda name: import_module(f"wespeaker.models.{name}")


def randomise(network):
    """Weights as they are made, and statistics of normalisation as no network has them when it is made."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 1.5)
            if module.affine:
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias, std=0.1)


def assert_same(ours, theirs, num_mels=80):
    randomise(ours)
    theirs.load_state_dict(ours.state_dict())  # strict: the same names and shapes
    features = torch.randn(2, 230, num_mels)
    with torch.inference_mode():
        output = theirs.eval()(features)
        expected = output[-1] if isinstance(output, tuple) else output
        actual = ours.eval()(features)
    assert actual.shape == expected.shape
    assert (actual - expected).norm() < 1e-5 * expected.norm()


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.mark.parametrize("num_mels", [80, 40])
def test_campplus(wespeaker, num_mels):
    theirs = wespeaker("campplus").CAMPPlus(num_mels, 24, growth_rate=8, bn_size=2, init_channels=16)
    assert_same(CAMPPlus(24, 8, 2, 16, num_mels).network, theirs, num_mels)


@pytest.mark.parametrize(("channels", "expansion", "base_width", "scale"), [(8, 2, 32, 2), (8, 4, 24, 3)])
def test_eres2net(wespeaker, channels, expansion, base_width, scale):
    theirs = wespeaker("eres2net").ERes2Net(
        channels, [3, 4, 6, 3], expansion=expansion, baseWidth=base_width, scale=scale, embed_dim=24
    )
    assert_same(ERes2Net(channels, 24, expansion, base_width, scale).network, theirs)


@pytest.mark.parametrize("depth", DEPTHS)
def test_resnet(wespeaker, depth):
    module = wespeaker("resnet")
    whole = getattr(module, f"ResNet{depth}")(80, 24)
    num_blocks = [len(getattr(whole, f"layer{i}")) for i in range(1, 5)]
    theirs = module.ResNet(type(whole.layer1[0]), num_blocks, m_channels=4, feat_dim=80, embed_dim=24)
    assert_same(ResNet(depth, channels=4, dim=24).network, theirs)


@pytest.mark.parametrize("channels", [32, 512])
def test_ecapa(wespeaker, channels):
    theirs = wespeaker("ecapa_tdnn").ECAPA_TDNN(channels, embed_dim=24, global_context_att=True)
    ours = ECAPAGlob(channels, mfa_channels=theirs.conv.out_channels, dim=24)
    assert_same(ours.network, theirs)
