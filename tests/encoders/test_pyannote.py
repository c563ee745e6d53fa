import sys

import pytest
import torch
import torch.nn.functional as F

import voxcert
from voxcert.encoders.checkpoint import CheckpointError, build_encoder, save_checkpoint

pytest.importorskip("pyannote.audio")

from pyannote.audio.core.task import Problem, Resolution, Specifications
from pyannote.audio.models.embedding.xvector import XVectorSincNet
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from torch.torch_version import TorchVersion

from voxcert.encoders.pyannote import PyannoteXVector


@pytest.fixture(scope="module")
def package():
    """The package's network with random weights."""
    torch.manual_seed(0)
    return XVectorSincNet(dimension=24).eval()


@pytest.fixture
def folder(package, tmp_path):
    """A folder as the hub has it: a Lightning checkpoint that names classes of pyannote's and Lightning's."""
    specifications = Specifications(
        problem=Problem.REPRESENTATION, resolution=Resolution.CHUNK, duration=5.0, classes=["a", "b"]
    )
    content = {
        "state_dict": package.state_dict() | {"loss_func.W": torch.zeros(24, 2)},
        "hyper_parameters": dict(package.hparams),
        "pyannote.audio": {"specifications": specifications, "versions": {"torch": TorchVersion("1.8.1")}},
        "callbacks": {EarlyStopping: {"patience": 20}, ModelCheckpoint: {"best_model_score": torch.tensor(0.03)}},
    }
    (tmp_path / "embedding").mkdir()
    torch.save(content, tmp_path / "embedding" / "pytorch_model.bin")
    return tmp_path / "embedding"


@torch.no_grad()
def test_agrees_with_the_package(package, folder, waveform):
    encoder = voxcert.load_encoder(folder)
    assert encoder.config["init_args"] == {"dim": 24, "stride": 10}
    torch.testing.assert_close(encoder(waveform), F.normalize(package(waveform[:, None])), atol=1e-6, rtol=0)


def test_records_of_training_stay_husks(folder, monkeypatch):
    """Nothing of the file's classes comes to life, and none of them is trusted afterwards."""
    trusted = torch.serialization.get_safe_globals()
    monkeypatch.setattr(Specifications, "__setstate__", None, raising=False)  # cannot be restored any more
    voxcert.load_encoder(folder)
    assert set(torch.serialization.get_safe_globals()) == set(trusted)


@torch.no_grad()
def test_a_row_is_the_single_call(package, folder, waveform):
    encoder = voxcert.load_encoder(folder)
    single = torch.cat([encoder(row[None]) for row in waveform])
    torch.testing.assert_close(single, encoder(waveform), atol=1e-5, rtol=0)


@torch.no_grad()
def test_exported_it_needs_no_pickle(folder, waveform, tmp_path):
    encoder = voxcert.load_encoder(folder)
    save_checkpoint(encoder, tmp_path / "exported", {})
    torch.testing.assert_close(
        voxcert.load_encoder(tmp_path / "exported")(waveform), encoder(waveform), atol=1e-6, rtol=0
    )


def test_two_frames_are_the_least():
    encoder = PyannoteXVector().eval()
    assert torch.isfinite(encoder(torch.randn(1, encoder.least_samples))).all()
    with pytest.raises(ValueError, match="at least 5041 samples, got 5040"):
        encoder(torch.randn(1, 5040))


class Bomb:
    def __reduce__(self):
        return exec, ("raise AssertionError('a pickle was read')",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"bomb": Bomb()}, "not a file of tensors and plain values alone"),
        ({"state_dict": {}}, "does not hold the weights of an XVectorSincNet"),
        ({"state_dict": {}, "hyper_parameters": {}}, "does not hold the weights of an XVectorSincNet"),
        ({"state_dict": {}, "hyper_parameters": {"sample_rate": 8000}}, "must be for waveforms at 16000 Hz, got 8000"),
        ([1], "does not hold the weights of an XVectorSincNet"),
    ],
)
def test_foreign_files_are_refused(content, message, tmp_path):
    torch.save(content, tmp_path / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=message):
        voxcert.load_encoder(tmp_path)


def test_without_the_package_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyannote.audio.models.embedding", None)
    config = {"class_path": "voxcert.encoders.pyannote.PyannoteXVector", "init_args": {}}
    with pytest.raises(ValueError, match=r'pip install "voxcert\[pyannote\]"'):
        build_encoder(config)
