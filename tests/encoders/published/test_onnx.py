"""ONNX files as wespeaker, 3D-Speaker and sherpa-onnx write them, exported here from this project's own networks."""

import copy
import pickle
import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tiny import TINY
from voxcert import Certifier, Recognizer, attacks, load_encoder
from voxcert.encoders import CheckpointError, OnnxEncoder, load_checkpoint, load_onnx, save_checkpoint
from voxcert.encoders.campplus import CAMPPlus
from voxcert.encoders.ecapa import ECAPA
from voxcert.encoders.loading import encoder_hash, is_checkpoint
from voxcert.encoders.wavlm import WavLM

onnx = pytest.importorskip("onnx", reason="needs onnx to write the files")
pytest.importorskip("onnxruntime", reason='needs onnxruntime: pip install "voxcert[onnx]"')

SIZES = {"dim": 12, "growth_rate": 4, "bn_size": 2, "init_channels": 8, "num_mels": 16}
WESPEAKER = {"framework": "wespeaker", "sample_rate": 16000, "output_dim": 12, "normalize_samples": 0}
THREE_D_SPEAKER = {
    "framework": "3d-speaker",
    "sample_rate": 16000,
    "output_dim": 12,
    "normalize_samples": 1,
    "feature_normalize_type": "global-mean",
}
WAVLM = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "conv_dim": [8] * 7,
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2,
    "tdnn_dim": [16] * 5,
    "xvector_output_dim": 24,
}


def export(network, path, example, metadata=None, outputs=("embs",), fixed=()):
    """Writes an ONNX file as published ones are: named axes, and metadata in the model."""
    axes = {"feats": {0: "B", 1: "T"}} | {name: {0: "B"} for name in outputs}
    axes["feats"] = {axis: name for axis, name in axes["feats"].items() if axis not in fixed}
    names = {"input_names": ["feats"], "output_names": list(outputs), "dynamic_axes": axes}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter that published files come from
        torch.onnx.export(network, (example,), str(path), dynamo=False, **names)
    model = onnx.load(path)
    onnx.helper.set_model_props(model, {key: str(value) for key, value in (metadata or {}).items()})
    onnx.save(model, path)
    return path


def network(**arguments):
    torch.manual_seed(0)
    encoder = CAMPPlus(**SIZES, **arguments)
    with torch.no_grad():
        encoder(0.1 * torch.randn(4, 8_000))  # running statistics that are not those of a fresh layer
    return encoder.eval()


@pytest.fixture(scope="module")
def wespeaker(tmp_path_factory):
    path = tmp_path_factory.mktemp("onnx") / "wespeaker.onnx"
    return export(network().network, path, torch.randn(1, 200, 16), WESPEAKER)


@pytest.fixture(scope="module")
def waveform():
    """Speech-like lengths on both sides of a segment of CAM++."""
    return 0.1 * torch.randn(3, 40_000, generator=torch.Generator().manual_seed(0))


def assert_same(actual, expected, waveform):
    with torch.inference_mode():
        torch.testing.assert_close(actual(waveform), expected(waveform), atol=1e-4, rtol=0)
        torch.testing.assert_close(actual(waveform[:1, :9000]), expected(waveform[:1, :9000]), atol=1e-4, rtol=0)


def test_metadata_of_wespeaker_say_what_it_hears(wespeaker, waveform):
    encoder = load_encoder(wespeaker)
    arguments = {"dim": 12, "hears": "features", "output": "embs", "num_mels": 16}
    hears = {"window": "hamming", "scale": 32768.0, "mean_norm": True}
    assert encoder.config == {"class_path": "voxcert.encoders.OnnxEncoder", "init_args": arguments | hears}
    assert not encoder.training
    assert not is_checkpoint(wespeaker)
    assert_same(encoder, network(), waveform)


def test_metadata_of_3d_speaker_say_what_it_hears(tmp_path, waveform):
    expected = network(window="povey", scale=1.0)
    path = export(expected.network, tmp_path / "a.onnx", torch.randn(1, 200, 16), THREE_D_SPEAKER)
    encoder = load_encoder(tmp_path)  # the one file in the folder
    assert encoder.config["init_args"]["window"] == "povey"
    assert_same(encoder, expected, waveform)
    assert encoder_hash(encoder) == encoder_hash(load_onnx(path))


def test_what_metadata_do_not_say_is_asked_for(tmp_path, waveform):
    path = export(network().network, tmp_path / "bare.onnx", torch.randn(1, 200, 16))
    with pytest.raises(CheckpointError, match=r"not say the window and scale that it hears .*; say it in bare\.yaml"):
        load_encoder(path)
    assert_same(load_onnx(path, window="hamming", scale=32768.0), network(), waveform)
    (tmp_path / "bare.yaml").write_text("window: hamming\nscale: 32768.0\n")
    assert_same(load_encoder(path), network(), waveform)


def test_a_mean_that_is_not_subtracted(tmp_path, waveform):
    """A file can have been trained without it, which its framework would not tell."""
    path = export(network().network, tmp_path / "a.onnx", torch.randn(1, 200, 16), WESPEAKER)
    encoder, ours = load_onnx(path, mean_norm=False), network()
    ours.frontend.mean_norm = False
    assert_same(encoder, ours, waveform)


def test_a_network_that_hears_the_waveform(tmp_path, waveform):
    torch.manual_seed(0)
    expected = WavLM(WAVLM).eval()
    path = export(expected, tmp_path / "wavlm.onnx", 0.1 * torch.randn(2, 16_000))
    encoder = load_encoder(path)
    assert encoder.config["init_args"] | {"hears": "waveform", "dim": 24} == encoder.config["init_args"]
    assert_same(encoder, expected, waveform)


def test_a_network_exported_for_one_row_is_run_row_by_row(tmp_path, waveform):
    path = export(network().network, tmp_path / "a.onnx", torch.randn(1, 200, 16), WESPEAKER, fixed=(0,))
    assert_same(load_encoder(path), network(), waveform)


def test_a_network_of_a_fixed_length_names_what_it_cannot_hear(tmp_path, waveform):
    path = export(network().network, tmp_path / "a.onnx", torch.randn(1, 200, 16), WESPEAKER, fixed=(0, 1))
    encoder = load_encoder(path)
    assert_same(lambda x: encoder(x[:, :32_240]), lambda x: network()(x[:, :32_240]), waveform[:, :32_240].repeat(1, 2))
    with pytest.raises(ValueError, match=r"the ONNX network cannot hear an input of shape \(1, 248, 16\)"):
        encoder(waveform)


class Several(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, features):
        embedding = self.inner(features)
        return embedding.sum(dim=1, keepdim=True), embedding


def test_one_of_several_outputs_has_to_be_named(tmp_path, waveform):
    outputs = ("logits", "embs")
    path = export(Several(network().network), tmp_path / "a.onnx", torch.randn(1, 200, 16), WESPEAKER, outputs)
    with pytest.raises(CheckpointError, match="output must be one of logits, embs, got None; say it in"):
        load_encoder(path)
    assert_same(load_onnx(path, output="embs"), network(), waveform)


class Mixed(nn.Module):
    """A network whose rows hear each other."""

    def forward(self, features):
        return features.mean(dim=1) - features.mean(dim=(0, 1))[None]


class Sideways(nn.Module):
    def forward(self, features):
        return features.mean(dim=2)


@pytest.mark.parametrize(
    ("inner", "metadata", "settings", "message"),
    [
        (Mixed(), {}, {}, "the embedding of a row depends on the other rows of its batch"),
        (nn.Identity(), {"output_dim": 16}, {}, r"must give finite embeddings \(batch, dim\)"),
        (None, {"output_dim": 192}, {}, "output_dim must be 12, the size of its embedding, got 192"),
        (None, {"sample_rate": 8000}, {}, "sample_rate must be 16000, got 8000"),
        (None, {"framework": "nemo"}, {}, "framework must be one of wespeaker, 3d-speaker, .*, got 'nemo'"),
        (None, {"feature_normalize_type": "per_feature"}, {}, "feature_normalize_type must be global-mean, got 'per_f"),
        (None, {}, {"window": "hann"}, "window must be one of .*, got 'hann'"),
        (None, {}, {"windows": "hamming"}, "settings of .* must be some of hears, .*, got windows"),
        (None, {}, {"hears": "waveform"}, r"the input feats must have the shape \(batch, time\) of a waveform"),
    ],
)
def test_what_does_not_fit_is_named(inner, metadata, settings, message, tmp_path):
    inner = network().network if inner is None else inner
    if isinstance(inner, Mixed):
        metadata = {"output_dim": 16}
    path = export(inner, tmp_path / "a.onnx", torch.randn(1, 200, 16), WESPEAKER | metadata)
    with pytest.raises(CheckpointError, match=message):
        load_onnx(path, **settings)


def test_bands_before_frames_are_named(tmp_path):
    path = tmp_path / "a.onnx"
    axes = {"feats": {0: "B", 2: "T"}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        example = (torch.randn(1, 16, 200),)
        torch.onnx.export(Sideways(), example, str(path), dynamo=False, input_names=["feats"], dynamic_axes=axes)
    with pytest.raises(CheckpointError, match=r"the input feats must have the shape .*, got \['B', 16, 'T'\]"):
        load_onnx(path, window="hamming", scale=1.0)


@pytest.mark.parametrize("content", [b"", b"not a model", pickle.dumps({"a": 1})])
def test_a_file_of_something_else_is_named(content, tmp_path):
    (tmp_path / "a.onnx").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"a\.onnx: this is no ONNX network that onnxruntime can run"):
        load_encoder(tmp_path / "a.onnx")


def test_the_file_is_the_state(wespeaker, tmp_path, waveform):
    """So a checkpoint folder holds it, and a hash depends on it."""
    encoder = load_encoder(wespeaker)
    save_checkpoint(encoder, tmp_path / "folder", {})
    loaded = load_checkpoint(tmp_path / "folder")
    assert encoder_hash(loaded) == encoder_hash(encoder)
    assert_same(loaded, encoder, waveform)
    other = export(
        network(window="povey").network.half().float(), tmp_path / "b.onnx", torch.randn(1, 200, 16), WESPEAKER
    )
    assert load_encoder(other).config == encoder.config
    assert encoder_hash(load_encoder(other)) != encoder_hash(encoder)


def test_copies_open_sessions_of_their_own(wespeaker, waveform):
    encoder = load_encoder(wespeaker)
    encoder(waveform)
    for other in (copy.deepcopy(encoder), pickle.loads(pickle.dumps(encoder))):
        assert_same(other, encoder, waveform)


def test_it_is_certified_and_enrolled_as_the_network_itself(wespeaker, waveform):
    certificates = []
    for encoder in (load_encoder(wespeaker), network()):
        with torch.inference_mode():
            prototypes = encoder(waveform)
        certifier = Certifier(encoder, prototypes, ["a", "b", "c"], sigma=0.01, num_select=16, num_estimate=64)
        certificates.append(certifier.certify(waveform[0], utterance="one"))
    for ours, theirs in zip(*certificates, strict=True):
        assert (ours.prediction, ours.rule) == (theirs.prediction, theirs.rule)
        assert ours.radius == pytest.approx(theirs.radius, rel=1e-2)


def test_black_box_attacks_work_and_others_say_why_not(wespeaker, waveform):
    encoder = load_encoder(wespeaker)
    with torch.inference_mode():
        prototypes = encoder(waveform)
    recognizer = Recognizer(encoder, prototypes.clone(), ["a", "b", "c"])
    labels = torch.tensor([1])
    attacked = attacks.nes(recognizer, waveform[:1].clone(), labels, epsilon=0.05, steps=2, num_samples=4)
    assert (attacked != waveform[:1]).any()
    with pytest.raises(ValueError, match="an OnnxEncoder has no gradients: attack it with what needs none"):
        attacks.pgd(recognizer, waveform[:1].clone(), labels, epsilon=0.05, steps=1)


def test_it_is_not_trained(wespeaker, waveform):
    with pytest.raises(ValueError, match="an OnnxEncoder cannot be trained"):
        load_encoder(wespeaker).train()(waveform)


def test_without_onnxruntime_the_extra_is_named(wespeaker, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(CheckpointError, match=r"needs onnxruntime: pip install \"voxcert\[onnx\]\""):
        load_encoder(wespeaker)


def test_a_wrong_kind_of_input_is_named():
    with pytest.raises(ValueError, match="hears must be 'features' or 'waveform', got 'mel'"):
        OnnxEncoder(12, "mel", "embs")


@pytest.mark.parametrize("name", ["campplus", "ecapa"])
def test_real_networks_are_equal(name, published_file, tmp_path, waveform):
    """CAM++ as published; ecapa-mini with its features computed outside, since its front-end is not Kaldi's."""
    if name == "campplus":
        expected = load_encoder(published_file("campplus_cn_en_common.pt"))
        metadata = THREE_D_SPEAKER | {"output_dim": 192}
        path = export(expected.network, tmp_path / "campplus.onnx", torch.randn(1, 200, 80), metadata)
        assert_same(load_encoder(path), expected, waveform[:2])
        return
    torch.manual_seed(0)
    expected = ECAPA(**TINY).eval()
    path = export(expected.network, tmp_path / "ecapa.onnx", torch.randn(1, 200, 80))
    session = load_onnx(path, window="hamming", scale=1.0)
    features = torch.randn(2, 130, 80)
    with torch.inference_mode():
        actual = F.normalize(torch.from_numpy(session._run(features.numpy())).squeeze(1))
        torch.testing.assert_close(actual, F.normalize(expected.network(features).squeeze(1)), atol=1e-4, rtol=0)
