"""ONNX files as wespeaker, 3D-Speaker and sherpa-onnx write them, exported here from this project's own networks."""

import copy
import pickle
import shutil
import sys
import warnings

import pytest
import torch
from torch import nn

from tiny import TINY_WAVLM
from voxcert import Certifier, Recognizer, attacks, load_encoder
from voxcert.encoders import CheckpointError, OnnxEncoder, load_checkpoint, load_onnx, save_checkpoint
from voxcert.encoders.campplus import CAMPPlus
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
HAMMING = {"window": "hamming", "scale": 32768.0}


def export(network, path, example, outputs=("embs",), fixed=()):
    """Writes an ONNX file as published ones are, with named axes."""
    axes = {name: name for name in (0, 1) if name not in fixed}
    names = {"input_names": ["feats"], "output_names": list(outputs)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter that published files come from
        torch.onnx.export(
            network,
            (example,),
            str(path),
            dynamo=False,
            dynamic_axes={"feats": {axis: "BT"[axis] for axis in axes}} | {name: {0: "B"} for name in outputs},
            **names,
        )
    return path


def described(source, path, metadata):
    """A copy of an ONNX file with metadata in it."""
    model = onnx.load(source)
    onnx.helper.set_model_props(model, {key: str(value) for key, value in metadata.items()})
    onnx.save(model, path)
    return path


def campplus(**arguments):
    """A CAM++ with one layer or two in a block, and running statistics that are not those of a fresh layer."""
    torch.manual_seed(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("voxcert.encoders.campplus.BLOCKS", ((2, 1), (1, 2), (1, 2)))
        encoder = CAMPPlus(**SIZES, **arguments)
    with torch.no_grad():
        encoder.network(torch.randn(4, 100, 16))
    return encoder.eval()


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """A CAM++ as an ONNX file without metadata."""
    return export(campplus().network, tmp_path_factory.mktemp("onnx") / "bare.onnx", torch.randn(1, 200, 16))


@pytest.fixture(scope="module")
def wespeaker(bare):
    return described(bare, bare.with_name("wespeaker.onnx"), WESPEAKER)


@pytest.fixture(scope="module")
def waveform():
    """More than a segment of CAM++."""
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
    assert_same(encoder, campplus(), waveform)


def test_metadata_of_3d_speaker_say_what_it_hears(bare, tmp_path, waveform):
    expected = campplus(window="povey", scale=1.0)
    path = described(bare, tmp_path / "a.onnx", THREE_D_SPEAKER)
    encoder = load_encoder(tmp_path)  # the one file in the folder
    assert encoder.config["init_args"]["window"] == "povey"
    assert_same(encoder, expected, waveform)
    assert encoder_hash(encoder) == encoder_hash(load_onnx(path))


def test_what_metadata_do_not_say_is_asked_for(bare, tmp_path, waveform):
    path = shutil.copy(bare, tmp_path / "bare.onnx")
    with pytest.raises(CheckpointError, match=r"not say the window and scale that it hears .*; say it in bare\.yaml"):
        load_encoder(path)
    assert_same(load_onnx(path, **HAMMING), campplus(), waveform)
    (tmp_path / "bare.yaml").write_text("window: hamming\nscale: 32768.0\n")
    assert_same(load_encoder(path), campplus(), waveform)


def test_a_mean_that_is_not_subtracted(wespeaker, waveform):
    """A file can have been trained without it, which its framework would not tell."""
    encoder, ours = load_onnx(wespeaker, mean_norm=False), campplus()
    ours.frontend.mean_norm = False
    assert_same(encoder, ours, waveform)


def test_a_network_that_hears_the_waveform(tmp_path, waveform):
    torch.manual_seed(0)
    expected = WavLM(TINY_WAVLM).eval()
    path = export(expected, tmp_path / "wavlm.onnx", 0.1 * torch.randn(2, 16_000))
    encoder = load_encoder(path)
    assert encoder.config["init_args"] | {"hears": "waveform", "dim": 24} == encoder.config["init_args"]
    assert_same(encoder, expected, waveform)


class Loud(nn.Module):
    """A network whose embedding depends on the amplitude of what it hears."""

    def forward(self, waveform):  # noqa: D102
        energy = waveform.square().mean(dim=1, keepdim=True)
        return torch.cat([energy, torch.ones_like(energy)], dim=1)


@pytest.mark.parametrize(
    ("metadata", "beside", "hears"),
    [
        ({}, None, "waveform"),
        ({"normalize_samples": 1}, None, "waveform"),
        ({"normalize_samples": 0}, None, "int16"),
        ({}, "scale: 32768.0", "int16"),
        ({"normalize_samples": 1}, "scale: 32768", "int16"),
        ({"normalize_samples": 0}, "scale: 1", "waveform"),
    ],
)
def test_a_network_may_hear_waveforms_in_int16_amplitudes(metadata, beside, hears, tmp_path, waveform):
    path = described(export(Loud(), tmp_path / "a.onnx", 0.1 * torch.randn(2, 16_000)), tmp_path / "a.onnx", metadata)
    if beside is not None:
        (tmp_path / "a.yaml").write_text(beside)
    encoder = load_encoder(path)
    assert encoder.config["init_args"]["hears"] == hears
    heard = waveform * {"waveform": 1, "int16": 32768}[hears]
    torch.testing.assert_close(encoder(waveform), nn.functional.normalize(Loud()(heard)))
    save_checkpoint(encoder, tmp_path / "folder", {})
    torch.testing.assert_close(load_checkpoint(tmp_path / "folder")(waveform), encoder(waveform))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"window": "povey"}, "hears waveforms: window must be left out"),
        ({"window": "povey", "mean_norm": True}, "hears waveforms: window and mean_norm must be left out"),
        ({"scale": 2.0}, r"hears waveforms: scale must be 1 or 32768 \(int16 amplitudes\), got 2.0"),
        ({"scale": [1]}, r"scale must be 1 or 32768 \(int16 amplitudes\), got \[1\]"),
    ],
)
def test_settings_of_features_mean_nothing_to_a_network_that_hears_waveforms(settings, message, tmp_path):
    path = export(Loud(), tmp_path / "a.onnx", 0.1 * torch.randn(2, 16_000))
    with pytest.raises(CheckpointError, match=message):
        load_onnx(path, **settings)


def test_a_network_exported_for_one_row_is_run_row_by_row(tmp_path, waveform):
    path = export(campplus().network, tmp_path / "a.onnx", torch.randn(1, 200, 16), fixed=(0,))
    assert_same(load_onnx(path, **HAMMING), campplus(), waveform)


def test_a_network_of_a_fixed_length_names_what_it_cannot_hear(tmp_path, waveform):
    path = export(campplus().network, tmp_path / "a.onnx", torch.randn(1, 200, 16), fixed=(0, 1))
    encoder, heard = load_onnx(path, **HAMMING), waveform[:, :32_240]  # 200 frames
    with torch.inference_mode():
        torch.testing.assert_close(encoder(heard), campplus()(heard), atol=1e-4, rtol=0)
    with pytest.raises(ValueError, match=r"the ONNX network cannot hear an input of shape \(1, 248, 16\)"):
        encoder(waveform)


class Several(nn.Module):
    def forward(self, features):  # noqa: D102
        embedding = features.std(dim=1)
        return embedding.sum(dim=1, keepdim=True), embedding


def test_one_of_several_outputs_has_to_be_named(tmp_path, waveform):
    path = export(Several(), tmp_path / "a.onnx", torch.randn(1, 200, 16), ("logits", "embs"))
    with pytest.raises(CheckpointError, match="output must be one of logits, embs, got None; say it in"):
        load_onnx(path, **HAMMING)
    assert load_onnx(path, output="embs", **HAMMING)(waveform).shape == (3, 16)


class Mixed(nn.Module):
    """A network whose rows hear each other."""

    def forward(self, features):  # noqa: D102
        return features.square().mean(dim=1) - features.square().mean(dim=(0, 1))[None]


class Sideways(nn.Module):
    def forward(self, features):  # noqa: D102
        return features.mean(dim=2)


@pytest.mark.parametrize(
    ("inner", "metadata", "settings", "message"),
    [
        (Mixed(), {"output_dim": 16}, {}, "the embedding of a row depends on the other rows of its batch"),
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
def test_what_does_not_fit_is_named(inner, metadata, settings, message, bare, tmp_path):
    source = bare if inner is None else export(inner, tmp_path / "b.onnx", torch.randn(1, 200, 16))
    path = described(source, tmp_path / "a.onnx", WESPEAKER | metadata)
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
    other = load_encoder(described(wespeaker, tmp_path / "b.onnx", WESPEAKER | {"comment": "another file"}))
    assert other.config == encoder.config
    assert encoder_hash(other) != encoder_hash(encoder)


def test_copies_open_sessions_of_their_own(wespeaker, waveform):
    encoder = load_encoder(wespeaker)
    encoder(waveform)
    for other in (copy.deepcopy(encoder), pickle.loads(pickle.dumps(encoder))):
        assert_same(other, encoder, waveform)


def test_it_is_certified_and_enrolled_as_the_network_itself(wespeaker, waveform):
    certificates = []
    for encoder in (load_encoder(wespeaker), campplus()):
        with torch.inference_mode():
            prototypes = encoder(waveform)
        certifier = Certifier(encoder, prototypes, ["a", "b", "c"], sigma=0.01, num_select=16, num_estimate=64)
        certificates.append(certifier.certify(waveform[0], utterance="one"))
    for ours, theirs in zip(*certificates, strict=True):
        assert (ours.prediction, ours.rule) == (theirs.prediction, theirs.rule)
        assert ours.radius == pytest.approx(theirs.radius, rel=1e-2)


def test_black_box_attacks_work_and_others_say_why_not(wespeaker, waveform):
    prototypes = torch.nn.functional.normalize(torch.randn(3, 12, generator=torch.Generator().manual_seed(1)))
    recognizer = Recognizer(load_encoder(wespeaker), prototypes, ["a", "b", "c"])
    scores = recognizer(waveform[:1])
    labels = scores.argmax(dim=1)
    settings = {"epsilon": 0.05, "targeted": False, "max_queries": 200, "num_pairs": 8, "sigma": 0.02}
    attacked = recognizer(attacks.nes(recognizer, waveform[:1].clone(), labels, **settings))
    assert attacked[0, labels] < scores[0, labels]
    with pytest.raises(ValueError, match="an OnnxEncoder has no gradients: attack it with what needs none"):
        attacks.pgd(recognizer, waveform[:1].clone(), labels, epsilon=0.05, steps=1)


def test_it_is_not_trained(wespeaker, waveform):
    with pytest.raises(ValueError, match="an OnnxEncoder cannot be trained"):
        load_encoder(wespeaker).train()(waveform)


def test_without_onnxruntime_the_extra_is_named(wespeaker, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(CheckpointError, match=r"needs onnxruntime: pip install \"voxcert\[onnx\]\""):
        load_encoder(wespeaker)


def test_a_wrong_kind_of_input_is_named():
    with pytest.raises(ValueError, match="hears must be 'features', 'waveform' or 'int16', got 'mel'"):
        OnnxEncoder(12, "mel", "embs")


@pytest.mark.slow
def test_campplus_as_published_is_equal(published_file, tmp_path, waveform):
    expected = load_encoder(published_file("campplus_cn_en_common.pt"))
    plain = export(expected.network, tmp_path / "plain.onnx", torch.randn(1, 200, 80))
    path = described(plain, tmp_path / "campplus.onnx", THREE_D_SPEAKER | {"output_dim": 192})
    assert_same(load_encoder(path), expected, waveform[:2])
