import errno
import pickle
import sys

import pytest
import torch
import yaml

from voxcert import load_encoder
from voxcert.encoders.checkpoint import (
    CheckpointError,
    checkpoint_hash,
    read_card,
    save_checkpoint,
)


@pytest.fixture
def folder(tiny, tmp_path):
    save_checkpoint(tiny, tmp_path / "tiny", {"sigma": 0.01})
    return tmp_path / "tiny"


def test_round_trip_keeps_embeddings(tiny, folder, waveform):
    loaded = load_encoder(folder)
    assert not loaded.training
    torch.testing.assert_close(loaded(waveform), tiny(waveform), atol=1e-6, rtol=0)
    assert read_card(folder) == {"sigma": 0.01}


def test_hash_changes_with_weights_and_config(tiny, folder):
    before = checkpoint_hash(folder)
    with torch.no_grad():
        next(tiny.parameters()).add_(1)
    save_checkpoint(tiny, folder, {})
    after = checkpoint_hash(folder)
    (folder / "config.yaml").write_text((folder / "config.yaml").read_text() + "\n")
    assert len({before, after, checkpoint_hash(folder)}) == 3


@pytest.mark.parametrize("name", ["model.safetensors", "config.yaml"])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(CheckpointError, match=f"{name} is missing"):
        load_encoder(folder)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(CheckpointError, match="nowhere does not exist"):
        load_encoder(tmp_path / "nowhere")


def test_a_pickle_beside_the_config_is_never_read(tiny, folder):
    (folder / "model.safetensors").rename(folder / "model.pt")
    with pytest.raises(
        CheckpointError, match=r"model\.pt is a pickle, which is never read: python -c .*load\(.model.pt"
    ):
        load_encoder(folder)


def test_a_damaged_card_is_named(folder):
    for text in ('{"sigma": 0.', "[1]", ""):
        (folder / "card.json").write_text(text)
        with pytest.raises(CheckpointError, match=r"tiny/card\.json is not the card of a checkpoint, a JSON object: "):
            read_card(folder)


def test_files_may_be_read_by_whom_the_umask_allows(folder):
    assert len({(folder / name).stat().st_mode for name in ("model.safetensors", "config.yaml", "card.json")}) == 1


def test_a_full_disk_names_the_file_and_leaves_the_old_one(tiny, folder, monkeypatch):
    before = {path: path.read_bytes() for path in folder.iterdir()}

    def full(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with torch.no_grad():
        next(tiny.parameters()).add_(1)
    with pytest.raises(OSError, match=r"No space left on device: .*model\.safetensors'"):
        save_checkpoint(tiny, folder, {})
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


class Bomb:
    def __reduce__(self):
        return exec, ("raise AssertionError('a pickle was read')",)


def test_a_pickle_posing_as_safetensors_is_refused(folder):
    (folder / "model.safetensors").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(CheckpointError, match="is not a safetensors file"):
        load_encoder(folder)


@pytest.mark.parametrize(
    "class_path",
    [
        "os.system",
        "subprocess.Popen",
        "voxcert.encoders.base.Encoder",
        "voxcert.encoders.checkpoint.torch.nn.Linear",
        "voxcert.encoders.ecapa.LogMel",
        "voxcert.encodersevil.X",
        "voxcert.encoders.nothing.X",
    ],
)
def test_only_encoder_classes_can_be_named(folder, class_path):
    (folder / "config.yaml").write_text(yaml.safe_dump({"class_path": class_path, "init_args": {}}))
    with pytest.raises(CheckpointError, match="class_path"):
        load_encoder(folder)


def test_wrong_arguments_and_wrong_shapes_are_named(folder, tiny):
    config = dict(tiny.config, init_args={"chanels": 16})
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(CheckpointError, match="chanels"):
        load_encoder(folder)
    config = dict(tiny.config, init_args=tiny.config["init_args"] | {"dim": 12})
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(CheckpointError, match="do not fit the config"):
        load_encoder(folder)


def test_a_config_that_is_not_yaml_is_named(folder):
    (folder / "config.yaml").write_text("class_path: [")
    with pytest.raises(CheckpointError, match="is not YAML"):
        load_encoder(folder)


OWN = """from voxcert.encoders.ecapa import ECAPA


class Own(ECAPA):
    pass


class NoEncoder:
    pass
"""


@pytest.fixture
def room(folder, tmp_path, monkeypatch):
    """A package of one's own on Python's path, not imported, and `folder` as the checkpoint of its encoder."""
    (tmp_path / "own_room").mkdir()
    (tmp_path / "own_room" / "__init__.py").write_text("")
    (tmp_path / "own_room" / "encoder.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    name_class(folder, "own_room.encoder.Own")
    yield folder
    for name in ("own_room", "own_room.encoder"):
        sys.modules.pop(name, None)


def name_class(folder, class_path):
    config = yaml.safe_load((folder / "config.yaml").read_text())
    (folder / "config.yaml").write_text(yaml.safe_dump(config | {"class_path": class_path}))


@pytest.mark.parametrize("trusted", [None, "", ",", "os", "own_roo", "own_room.encoder.Own", "own_room_too", "*", "."])
def test_nothing_of_a_module_that_is_not_trusted_is_imported(room, trusted, monkeypatch):
    if trusted is not None:
        monkeypatch.setenv("VOXCERT_TRUSTED_MODULES", trusted)
    with pytest.raises(CheckpointError, match="environment variable VOXCERT_TRUSTED_MODULES names .*'own_room.encoder"):
        load_encoder(room)
    assert "own_room" not in sys.modules


@pytest.mark.parametrize("trusted", ["own_room.encoder", " os, own_room", "own_room,"])
def test_a_user_may_trust_a_module(room, tiny, waveform, trusted, monkeypatch):
    monkeypatch.setenv("VOXCERT_TRUSTED_MODULES", trusted)
    loaded = load_encoder(room)
    assert loaded.config["class_path"] == "own_room.encoder.Own"
    assert torch.equal(loaded(waveform), tiny(waveform))


@pytest.mark.parametrize(
    ("class_path", "message"),
    [
        ("own_room.encoder.NoEncoder", "class_path must be of the kind Encoder, not abstract"),
        ("own_room.encoder.Nothing", "class_path must be of the kind Encoder, not abstract"),
        ("own_room.nothing.Own", "No module named 'own_room.nothing' .modules of your own are found on PYTHONPATH"),
    ],
)
def test_a_trusted_module_must_have_the_encoder(room, class_path, message, monkeypatch):
    monkeypatch.setenv("VOXCERT_TRUSTED_MODULES", "own_room")
    name_class(room, class_path)
    with pytest.raises(CheckpointError, match=message):
        load_encoder(room)
