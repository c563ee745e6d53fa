"""Code that `torch.compile` generates gives what the encoder gives, for every class of encoder at a tiny size.

Each kind of layer is there once or twice. Code generation takes its time per layer, whatever the width, so the deep
networks are made shallow. `test_every_encoder.py` captures the networks as they are.
"""

import inspect
import shutil

import pytest
import torch
from torch import nn

import voxcert.encoders
from tiny import TINY, TINY_WAVLM
from voxcert.encoders import campplus, eres2net, resnet
from voxcert.encoders.base import Encoder, FeatureEncoder
from voxcert.encoders.checkpoint import build_encoder
from voxcert.encoders.networks.residual import BasicBlock
from voxcert.encoders.onnx_encoder import OnnxEncoder

TIME = 40_000  # samples: more than one segment of CAM++, which is 200 frames before its stride
SIZES = {
    "CAMPPlus": {"dim": 16, "growth_rate": 4, "bn_size": 2, "init_channels": 8, "num_mels": 16},
    "DeepSpeaker": {"dim": 16, "channels": 4, "num_mels": 16},
    "ECAPA": TINY,
    "ECAPAGlob": {"dim": 16, "channels": 16, "mfa_channels": 24, "attention_channels": 8, "se_channels": 8},
    "ERes2Net": {"dim": 16, "channels": 4, "num_mels": 16},
    "FastResNet34": {"dim": 16, "channels": 8, "num_mels": 16, "variant": "asp"},
    "GE2E": {"dim": 16, "hidden_size": 8, "num_layers": 2, "num_mels": 16},
    "PyannoteXVector": {},
    "QuietFrames": {"num_mels": 16},
    "ResNet": {"dim": 16, "channels": 4, "num_mels": 16},
    "SincNet": {
        "dim": 16,
        "num_classes": 4,
        "chunk_samples": 3200,
        "hop_samples": 6400,
        "num_filters": 8,
        "channels": 8,
    },
    "WavLM": {"architecture": TINY_WAVLM},
}
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="needs a C++ compiler: g++"),
    pytest.mark.filterwarnings("ignore:Torchinductor does not support code generation for complex"),  # FFTs run as is
    pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning"),  # which the code generator itself imports
    pytest.mark.filterwarnings("ignore:Dynamo detected a call to a `functools.lru_cache`"),  # inside transformers
]


def test_every_class_of_encoder_has_a_size_here():
    classes = [getattr(voxcert.encoders, name) for name in voxcert.encoders.__all__]
    encoders = [one for one in classes if inspect.isclass(one) and issubclass(one, Encoder)]
    assert {one.__name__ for one in encoders if one not in (Encoder, FeatureEncoder, OnnxEncoder)} == set(SIZES)


@pytest.fixture
def shallow(monkeypatch):
    monkeypatch.setattr(campplus, "BLOCKS", ((2, 1), (1, 2), (1, 2)))
    monkeypatch.setattr(eres2net, "NUM_BLOCKS", (1, 1, 1, 1))
    monkeypatch.setitem(resnet.DEPTHS, 34, (BasicBlock, (1, 1, 1, 1)))


@pytest.mark.parametrize("name", SIZES)
def test_generated_code_gives_the_same_result(name, shallow):
    if name == "PyannoteXVector":
        pytest.importorskip("pyannote.audio")
    torch._dynamo.reset()
    torch.manual_seed(0)
    encoder = build_encoder({"class_path": f"voxcert.encoders.{name}", "init_args": SIZES[name]})
    for module in encoder.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 1.5)
    waveform = torch.tensor([[0.3], [0.03]]) * torch.randn(2, TIME)
    with torch.inference_mode():
        expected = encoder.eval()(waveform)
        torch.testing.assert_close(torch.compile(encoder)(waveform), expected, atol=1e-4, rtol=0)
