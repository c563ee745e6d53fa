import pickle

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
    with pytest.raises(CheckpointError, match=r"model\.pt is a pickle, which is never read"):
        load_encoder(folder)


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
