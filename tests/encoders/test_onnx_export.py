"""Encoders are written as ONNX files that onnxruntime runs to the same embeddings, or it is said why not."""

import json
from pathlib import Path

import pytest
import torch
from test_generated_code import SIZES, shallow  # noqa: F401  (a fixture)
from torch import nn

import voxcert
import voxcert.data
from voxcert.encoders import Encoder, OnnxEncoder, export_onnx
from voxcert.encoders.checkpoint import build_encoder
from voxcert.encoders.loading import encoder_hash
from voxcert.training.export import export

onnx = pytest.importorskip("onnx", reason="needs onnx to read metadata")
pytest.importorskip("onnxruntime", reason='needs onnxruntime: pip install "voxcert[onnx]"')
pytest.importorskip("onnxscript", reason='needs onnxscript: pip install "voxcert[onnx]"')
pytestmark = pytest.mark.filterwarnings("ignore:Dynamo detected a call to a `functools.lru_cache`")  # in transformers

SECONDS = 0.5
NOT_EXPORTED = {"PyannoteXVector": "torch cannot write this PyannoteXVector as ONNX"}


class Energies(Encoder):
    """Energies of the waveform's parts: what an encoder is, at the least."""

    def __init__(self, dim: int = 4, trap: str | None = None):
        super().__init__()
        self.dim, self.trap = dim, trap
        self.scale = nn.Parameter(torch.linspace(1, 2, dim))

    def embed(self, waveform):
        """Embeds waveforms (batch, time)."""
        parts = waveform.unflatten(1, (self.dim, -1)).square().mean(dim=2) + 1e-6
        if self.trap == "other" and torch.compiler.is_compiling():
            parts = parts * (1 + 0.01 * torch.arange(self.dim))
        if self.trap == "data" and parts.sum() > 1:  # a branch that depends on samples
            parts = parts.flip(1)
        return self.scale * parts


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    return export_onnx(Energies().eval(), tmp_path_factory.mktemp("onnx") / "energies.onnx", SECONDS)


def test_a_file_is_opened_without_settings(exported):
    encoder, own = voxcert.load_encoder(exported), Energies().eval()
    assert isinstance(encoder, OnnxEncoder)
    assert encoder.config["init_args"]["hears"] == "waveform"
    for rows in (1, 3, 16):
        waveform = 0.1 * torch.randn(rows, 8000)
        torch.testing.assert_close(encoder(waveform), own(waveform).detach(), atol=1e-4, rtol=0)
    with pytest.raises(ValueError, match=r"the ONNX network cannot hear an input of shape \(1, 8001\)"):
        encoder(torch.randn(1, 8001))


def test_metadata_say_what_it_is(exported):
    metadata = {one.key: one.value for one in onnx.load(exported).metadata_props}
    own = Energies()
    assert json.loads(metadata["encoder"]) == own.config
    assert metadata["encoder_hash"] == encoder_hash(own)
    assert (metadata["sample_rate"], metadata["output_dim"]) == ("16000", "4")


def test_what_cannot_be_exported_is_said_and_nothing_is_written(exported, tmp_path):
    path = tmp_path / "a.onnx"
    for encoder, message in (
        (Energies(trap="other"), r"the ONNX file of this Energies must give its embeddings to 0.0001, got 0.0"),
        (Energies(trap="data"), "torch cannot write this Energies as ONNX: .+"),
        (voxcert.load_encoder(exported), "must be one of torch to be exported, got an OnnxEncoder"),
    ):
        with pytest.raises(ValueError, match=message):
            export_onnx(encoder.eval(), path, SECONDS)
    assert list(tmp_path.iterdir()) == []
    for arguments, message in (((tmp_path / "a.bin",), r"must be called \*.onnx"), ((path, 0.0), "seconds must be in")):
        with pytest.raises(ValueError, match=message):
            export_onnx(Energies().eval(), *arguments)


def test_the_command_writes_no_card_and_overwrites_nothing(checkpoint, exported):
    for settings, message in (
        ({"format": "torch"}, "format must be checkpoint or onnx, got 'torch'"),
        ({"format": "onnx", "command": "x"}, "config, command and attribution null for onnx"),
        ({"format": "onnx", "half": True}, "half must be false"),
        ({"format": "onnx"}, r"target must not be there \(or set overwrite\)"),
    ):
        with pytest.raises(ValueError, match=message):
            export(str(checkpoint), str(exported), **settings)


@pytest.mark.slow
@pytest.mark.parametrize("name", SIZES)
def test_every_class_of_encoder_is_exported_or_says_why_not(name, shallow, tmp_path):  # noqa: F811
    if name == "PyannoteXVector":
        pytest.importorskip("pyannote.audio")
    torch.manual_seed(0)
    encoder = build_encoder({"class_path": f"voxcert.encoders.{name}", "init_args": SIZES[name]}).eval()
    for module in encoder.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 1.5)
    path = tmp_path / "a.onnx"
    if name in NOT_EXPORTED:
        with pytest.raises(ValueError, match=NOT_EXPORTED[name]):
            export_onnx(encoder, path)
        return
    loaded = voxcert.load_encoder(export_onnx(encoder, path))
    waveform = torch.tensor([[0.3], [0.03], [0.001]]) * torch.randn(3, 48_000)
    with torch.inference_mode():
        torch.testing.assert_close(loaded(waveform), encoder(waveform), atol=1e-4, rtol=0)


@pytest.mark.slow
def test_the_smoothed_recognizer_decides_the_same_on_the_same_noise(librispeech, tmp_path):
    """Ten recordings of five unseen speakers, and every claim of each."""
    checkpoint = str(Path(__file__).parents[2] / "checkpoints" / "ecapa-mini")
    path = export(checkpoint, str(tmp_path / "mini.onnx"), format="onnx", seconds=1.0)
    corpus = voxcert.data.LibriSpeech(librispeech, parts=["test-other"])
    own = {}
    for utterance in corpus.utterances():
        own.setdefault(utterance.speaker, []).append(utterance)
    speakers = sorted(own)[:5]
    enrolled = {speaker: [one.load() for one in own[speaker][:2]] for speaker in speakers}
    settings = {"sigma": 0.01, "num_estimate": 200, "batch_size": 16, "crop_seconds": 1.0, "seed": 3}
    answers = []
    for source in (checkpoint, path):
        recognizer = voxcert.SmoothedRecognizer.from_checkpoint(source, enrolled, **settings)
        for one in (one for speaker in speakers for one in own[speaker][2:4]):
            answer = recognizer.identify(one.load())
            claims = [recognizer.verify(one.load(), speaker, 0.5).accepted for speaker in speakers]
            answers.append((one.id, answer.prediction, answer.abstained, answer.num_forwards, claims))
    half = len(answers) // 2
    assert half == 10
    assert answers[:half] == answers[half:]
    assert {prediction for _, prediction, *_ in answers} >= set(speakers), "no claim about silence"
