"""Resemblyzer's file: a small network of random weights in its layout, and the real one where it is at hand."""

import pickle

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import save_file

from golden import FOLDER
from voxcert import load_encoder
from voxcert.encoders.checkpoint import CheckpointError
from voxcert.encoders.ge2e import GE2E
from voxcert.encoders.loading import encoder_hash, is_checkpoint


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    return GE2E(dim=12, hidden_size=8, num_layers=2, num_mels=10).eval()


@pytest.fixture
def checkpoint(encoder):
    """What its training wrote: the loss's two numbers, and the state of an optimizer, which is not used."""
    loss = {"similarity_weight": torch.zeros(1), "similarity_bias": torch.zeros(1)}
    return {"step": 3, "model_state": encoder.network.state_dict() | loss, "optimizer_state": {"state": {}}}


@pytest.mark.parametrize("layout", ["pretrained.pt", "bare.pt", "converted.safetensors"])
def test_a_file_is_read_back(layout, encoder, checkpoint, tmp_path, waveform):
    path = tmp_path / layout
    if layout == "pretrained.pt":
        torch.save(checkpoint, path)
    else:
        (save_file if path.suffix == ".safetensors" else torch.save)(encoder.network.state_dict(), path)
    for source in (path, tmp_path):
        loaded = load_encoder(source)
        assert not loaded.training
        assert encoder_hash(loaded) == encoder_hash(encoder)
        torch.testing.assert_close(loaded(waveform), encoder(waveform), atol=1e-6, rtol=0)
        assert not is_checkpoint(source)


def test_weights_that_do_not_fit_are_named(checkpoint, tmp_path):
    del checkpoint["model_state"]["linear.bias"]
    torch.save(checkpoint, tmp_path / "pretrained.pt")
    with pytest.raises(CheckpointError, match=r"(?s)pretrained\.pt does not hold .* a GE2E encoder.*linear\.bias"):
        load_encoder(tmp_path)


@pytest.mark.parametrize("content", [{"model_state": 3}, {"weight": torch.zeros(1)}, {"state": {"a": 1}}, [1]])
def test_a_file_of_something_else_is_named(content, tmp_path):
    torch.save(content, tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match=r"model\.pt (is not a state dict|does not hold the weights of)"):
        load_encoder(tmp_path / "model.pt")


class Bomb:
    def __reduce__(self):
        return exec, ("raise AssertionError('a pickle was run')",)


def test_a_pickle_is_never_run(checkpoint, tmp_path):
    (tmp_path / "pretrained.pt").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(CheckpointError, match=r"pretrained\.pt"):
        load_encoder(tmp_path / "pretrained.pt")
    torch.save(checkpoint | {"optimizer_state": Bomb()}, tmp_path / "pretrained.pt")
    with pytest.raises(CheckpointError, match="never run"):
        load_encoder(tmp_path / "pretrained.pt")


def test_the_published_encoder_says_what_resemblyzer_says(published_file, librispeech):
    """Quiet and loud, shorter than one partial utterance and with a rest that is left out or filled up."""
    encoder = load_encoder(published_file("resemblyzer-pretrained.pt"))
    assert encoder.config == GE2E().config
    with np.load(FOLDER / "resemblyzer-published.npz") as arrays:
        golden = {name: arrays[name] for name in arrays.files}
    audio = [soundfile.read(f"{librispeech}/{file}", dtype="float32")[0] for file in golden["files"]]
    for length, expected in zip(golden["num_samples"], golden["embeddings"], strict=True):
        waveform = torch.from_numpy(np.stack([samples[:length] for samples in audio]))
        for amplitude, rows in zip(golden["amplitudes"].tolist(), expected, strict=True):
            with torch.inference_mode():
                actual = encoder(amplitude * waveform)
            torch.testing.assert_close(actual, torch.from_numpy(rows), atol=1e-6, rtol=0)
