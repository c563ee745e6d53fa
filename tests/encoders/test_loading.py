"""Loading from folders of this project and from published files; the readers of each layout have tests of their own."""

import copy
import inspect
import pickle
import shutil
import sys
from types import ModuleType

import pytest
import torch
from torch import nn

import voxcert
from voxcert.encoders.checkpoint import CheckpointError, build_encoder, save_checkpoint
from voxcert.encoders.ecapa import ECAPA
from voxcert.encoders.loading import FILES, FOLDERS, encoder_hash, is_checkpoint, load_weights
from voxcert.purifiers import Quantise


@pytest.fixture
def folder(tiny, tmp_path):
    save_checkpoint(tiny, tmp_path / "tiny", {})
    return tmp_path / "tiny"


@pytest.fixture
def published(tiny, tmp_path):
    """A folder as speechbrain publishes it."""
    (tmp_path / "published").mkdir()
    torch.save(tiny.network.state_dict(), tmp_path / "published" / "embedding_model.ckpt")
    return tmp_path / "published"


@pytest.mark.parametrize("kind", ["folder", "published"])
def test_weights_load_into_a_fresh_encoder(tiny, kind, waveform, request):
    source = request.getfixturevalue(kind)
    fresh = build_encoder(tiny.config).eval()
    assert not torch.allclose(fresh(waveform), tiny(waveform), atol=1e-3)
    load_weights(fresh, source)
    torch.testing.assert_close(fresh(waveform), tiny(waveform), atol=1e-6, rtol=0)


def test_a_published_folder_says_what_encoder_it_is(tiny, published, waveform):
    loaded = voxcert.load_encoder(str(published))
    assert not loaded.training
    assert loaded.config == tiny.config
    torch.testing.assert_close(loaded(waveform), tiny(waveform), atol=1e-6, rtol=0)
    assert not is_checkpoint(published)
    assert encoder_hash(loaded) == encoder_hash(tiny)


def test_our_own_folder_is_known_by_its_config(folder, published, tiny):
    """Whatever else lies in it."""
    shutil.copy(published / "embedding_model.ckpt", folder)
    (folder / "config.json").write_text("{}")
    assert is_checkpoint(folder)
    assert encoder_hash(voxcert.load_encoder(folder)) == encoder_hash(tiny)


def test_another_encoder_is_refused_argument_by_argument(folder, tiny):
    """The weights would fit: a front-end has none."""
    other = ECAPA(**tiny.config["init_args"] | {"hop_ms": 20, "fft_size": 512})
    with pytest.raises(CheckpointError, match="fft_size is 400 there, got 512; hop_ms is 10 there, got 20"):
        load_weights(other, folder)


def test_the_hash_depends_on_config_and_weights(tiny):
    hop = ECAPA(**tiny.config["init_args"] | {"hop_ms": 20})
    hop.load_state_dict(tiny.state_dict())
    before = encoder_hash(tiny)
    with torch.no_grad():
        next(tiny.parameters()).view(-1)[0].add_(1)
    assert len({before, encoder_hash(hop), encoder_hash(tiny)}) == 3


class Calling(nn.Module):
    """A network that prints a function, with its place in memory."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def extra_repr(self):
        """What it calls."""
        return repr(self.function)


def test_networks_without_a_config_have_a_hash_too():
    linear, other = nn.Linear(4, 4), nn.Linear(4, 4)
    assert encoder_hash(linear) == encoder_hash(copy.deepcopy(linear)) != encoder_hash(other)
    printed = [nn.BatchNorm1d(4, eps=eps) for eps in (1e-5, 1e-3)]  # weights and buffers are the same
    configured = [nn.Sequential(Quantise(bits), linear) for bits in (8, 9)]  # so is what they print
    networks = [linear, copy.deepcopy(linear).bfloat16(), *printed, *configured]
    assert len({encoder_hash(network) for network in networks}) == 6
    assert encoder_hash(Calling(lambda: 1)) == encoder_hash(Calling(lambda: 1)), "in another place of the memory"


@pytest.mark.parametrize("other", ["b.model", "b.pkl"])
def test_two_single_files_are_not_guessed_between(other, tmp_path):
    for name in ("a.model", other):
        (tmp_path / name).touch()
    with pytest.raises(CheckpointError, match=f"holds a.model, {other}: name the file that is meant, not the folder"):
        voxcert.load_encoder(tmp_path)


def test_our_own_weights_without_a_config_are_not_taken_for_published_ones(folder):
    (folder / "config.yaml").unlink()
    with pytest.raises(CheckpointError, match=r"config\.yaml is missing"):
        voxcert.load_encoder(folder)


class Bomb:
    def __reduce__(self):
        return exec, ("raise AssertionError('a pickle was read')",)


@pytest.mark.parametrize("name", [pattern.replace("*", "any") for pattern in (*FOLDERS, *FILES)])
def test_a_pickle_posing_as_published_weights_is_refused(name, tmp_path):
    (tmp_path / name).write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(CheckpointError):
        voxcert.load_encoder(tmp_path)


def test_weights_of_something_else_are_refused(tmp_path):
    torch.save({"weight": torch.zeros(2)}, tmp_path / "embedding_model.ckpt")
    with pytest.raises(CheckpointError, match="does not hold the weights of an ECAPA-TDNN"):
        voxcert.load_encoder(tmp_path)


def test_the_hub_is_asked_only_when_told_to(tiny, published, monkeypatch, waveform):
    """The client is real; the folder that it would bring is made here."""
    asked = []

    def download(name, allow_patterns):
        asked.append((name, "embedding_model.ckpt" in allow_patterns))
        return str(published)

    monkeypatch.setattr("voxcert.encoders.loading.snapshot_download", download)
    fresh = build_encoder(tiny.config).eval()
    load_weights(fresh, "hf:speechbrain/spkrec-ecapa-voxceleb")
    assert asked == [("speechbrain/spkrec-ecapa-voxceleb", True)]
    torch.testing.assert_close(fresh(waveform), tiny(waveform), atol=1e-6, rtol=0)
    load_weights(fresh, published)
    assert len(asked) == 1


def test_a_hub_that_cannot_be_reached_is_named(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(CheckpointError, match="hf:nobody/nothing cannot be fetched"):
        voxcert.load_encoder("hf:nobody/nothing")


def test_modelscope_is_asked_only_when_told_to(published, tiny, monkeypatch, waveform):
    """The folder that its client would bring is made here."""
    asked = []
    client = ModuleType("modelscope")
    client.snapshot_download = lambda name, allow_patterns: asked.append((name, allow_patterns)) or str(published)
    monkeypatch.setitem(sys.modules, "modelscope", client)
    loaded = voxcert.load_encoder("modelscope:iic/speech_campplus_sv_zh-cn_16k-common")
    torch.testing.assert_close(loaded(waveform), tiny(waveform), atol=1e-6, rtol=0)
    ((name, patterns),) = asked
    assert name == "iic/speech_campplus_sv_zh-cn_16k-common"
    assert {"configuration.json", "*.bin", "*.pt"} <= set(patterns)
    assert not is_checkpoint("modelscope:iic/speech_campplus_sv_zh-cn_16k-common")


def test_the_real_client_of_modelscope_takes_these_arguments():
    client = pytest.importorskip("modelscope", reason='needs the client: pip install "voxcert[modelscope]"')
    inspect.signature(client.snapshot_download).bind("iic/nothing", allow_patterns=["*.bin"])


def test_without_the_client_of_modelscope_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "modelscope", None)
    with pytest.raises(CheckpointError, match=r"modelscope:iic/x needs .*: pip install \"voxcert\[modelscope\]\""):
        voxcert.load_encoder("modelscope:iic/x")


def test_a_modelscope_that_cannot_be_reached_is_named(monkeypatch):
    def download(*args, **kwargs):
        raise ConnectionError("no route")

    client = ModuleType("modelscope")
    client.snapshot_download = download
    monkeypatch.setitem(sys.modules, "modelscope", client)
    with pytest.raises(CheckpointError, match="modelscope:iic/x cannot be fetched .*: no route"):
        voxcert.load_encoder("modelscope:iic/x")
