"""Checkpoints that name classes by the module they once lay in load, and are named by the public path from then on."""

from pathlib import Path

import pytest
import yaml

from voxcert.attacks import load_generator
from voxcert.encoders.checkpoint import load_checkpoint, save_checkpoint
from voxcert.purifiers import load_purifier

FOLDERS = sorted((Path(__file__).parents[1] / "checkpoints").iterdir())
LOAD = {"voxcert.encoders": load_checkpoint, "voxcert.attacks": load_generator, "voxcert.purifiers": load_purifier}


def class_path(folder):
    return yaml.safe_load((folder / "config.yaml").read_text())["class_path"]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_old_checkpoints_load_and_are_saved_by_their_public_path(folder, tmp_path):
    package, _, name = class_path(folder).rpartition(".")
    package = ".".join(package.split(".")[:2])
    network = LOAD[package](folder)
    assert network.config["class_path"] == f"{package}.{name}"
    save_checkpoint(network, tmp_path, {})
    again = LOAD[package](tmp_path)
    assert all((value == again.state_dict()[key]).all() for key, value in network.state_dict().items())


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_folder_holds_what_docs_checkpoints_says(folder):
    assert {file.name for file in folder.iterdir()} == {"model.safetensors", "config.yaml", "card.json", "README.md"}
    assert f"\n# {folder.name}\n" in (folder / "README.md").read_text()


def test_some_of_them_are_old():
    old = {class_path(folder).count(".") > 2 for folder in FOLDERS}
    assert True in old, "otherwise the test above says nothing about old checkpoints"
