"""Our networks against 3D-Speaker's own code, loaded from the files that it would write.

`speakerlab` is installed without its dependencies, which its network files do not need.
"""

from importlib import import_module, util

import pytest
import torch
from torch import nn

from voxcert import load_encoder
from voxcert.encoders.networks import pooling


@pytest.fixture
def speakerlab():
    """A function that imports a module of networks of 3D-Speaker."""
    if util.find_spec("speakerlab") is None:
        pytest.skip("needs 3D-Speaker's code: pip install --no-deps speakerlab==0.0.6 (make setup does)")
    return lambda name: import_module(f"speakerlab.models.{name}")


def assert_same(theirs, path):
    for module in theirs.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 1.5)
    torch.save(theirs.state_dict(), path)
    features = torch.randn(2, 230, 80)
    with torch.inference_mode():
        expected = theirs.eval()(features.clone())  # it works in place
        actual = load_encoder(path).embed_features(features)
    assert (actual - expected).norm() < 1e-5 * expected.norm()


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def test_campplus(speakerlab, tmp_path, monkeypatch):
    """Its pooling has no floor, without which a silent channel has no gradient; trained weights do not come near it."""
    monkeypatch.setattr(pooling, "VARIANCE_FLOOR", 0.0)
    theirs = speakerlab("campplus.DTDNN").CAMPPlus(80, 24, growth_rate=8, bn_size=2, init_channels=16)
    assert_same(theirs, tmp_path / "campplus_cn_common.bin")


@pytest.mark.parametrize("module", ["ERes2Net", "ERes2Net_huge"])
def test_eres2net(speakerlab, module, tmp_path):
    theirs = speakerlab(f"eres2net.{module}").ERes2Net(m_channels=8, embedding_size=24)
    assert_same(theirs, tmp_path / "pretrained_eres2net.ckpt")
