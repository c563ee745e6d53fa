"""What is no checkpoint is named for what it is, with what to do."""

import os
import pickle
import shutil
import tarfile
import zipfile

import pytest
import torch

import voxcert
from voxcert.encoders.checkpoint import CheckpointError, load_folder, save_checkpoint
from voxcert.encoders.loading import load_weights
from voxcert.encoders.refusals import refusal
from voxcert.purifiers import GaussianFilter
from voxcert.purifiers.checkpoint import load_purifier
from voxcert.training.export import export

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 12345\n"


@pytest.fixture
def make(tmp_path):
    """Makes the thing of a name; returns its path."""

    def made(kind):
        path = tmp_path / kind
        if kind in ("last.ckpt", "epoch=3.ckpt"):
            torch.save({"pytorch-lightning_version": "2.6.0", "state_dict": {}, "epoch": 3}, path)
        elif kind in ("run_of_training", "empty", "unrelated", "config_alone", "wespeaker_config", "run"):
            path.mkdir()
            files = {
                "run_of_training": ("last.ckpt", "hparams.txt"),
                "unrelated": ("notes.txt", "weights.npz"),
                "config_alone": ("config.yaml",),
                "wespeaker_config": ("config.yaml",),
                "run": ("rows.jsonl", "config.yaml", "prototypes.safetensors"),
            }
            for name in files.get(kind, ()):
                (path / name).write_text("model: CAMPPlus\n")
            if kind == "run_of_training":
                torch.save({"pytorch-lightning_version": "2.6.0"}, path / "last.ckpt")
            if kind == "config_alone":
                (path / "config.yaml").write_text("[1, 2]")
        elif kind == "dead_links":
            path.mkdir()
            for name in ("embedding_model.ckpt", "hyperparams.yaml"):
                (path / name).symlink_to(tmp_path / "cache" / name)
        elif kind == "dead_link":
            path.symlink_to("/nowhere/weights")
        elif kind.startswith("pointer."):
            path.write_text(POINTER)
        elif kind == "pointers":
            path.mkdir()
            (path / "weights.npz").write_text(POINTER)
        elif kind == "archive.zip":
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr("model.safetensors", "x")
        elif kind == "archive.tar.gz":
            with tarfile.open(path, "w:gz") as archive:
                archive.add(__file__, "file")
        elif kind == "old.pth":
            path.write_bytes(pickle.dumps({"a": 1}))
        elif kind == "new.pth":
            torch.save({"weight": torch.ones(2)}, path)
        elif kind == "empty.npz":
            path.touch()
        elif kind == "page.npz":
            path.write_text("\n<!DOCTYPE html><html></html>")
        elif kind == "model.onnx":
            path.write_bytes(b"\x08\x08\x12\x07pytorch")
        elif kind == "noise.npy":
            path.write_bytes(bytes(range(256)))
        elif kind in ("notes.txt", "weights.yaml", "words.pt", "hello.pt"):
            path.write_text("hello" if kind == "hello.pt" else "no weights")
        return path

    return made


KINDS = {
    "last.ckpt": r"last.ckpt is a Lightning checkpoint: `voxcert export .*last.ckpt checkpoints/NAME` makes",
    "epoch=3.ckpt": r"is a Lightning checkpoint: `voxcert export .*epoch=3.ckpt checkpoints/NAME`",
    "run_of_training": r"holds Lightning checkpoints: `voxcert export .*run_of_training/last.ckpt checkpoints/NAME`",
    "empty": r"checkpoint folder .*empty is empty",
    "unrelated": r"is no checkpoint folder .*: it has notes.txt, weights.npz; docs/encoders.md",
    "config_alone": r"has no known weights, and a config.yaml without the class_path of an encoder: it has config.yaml",
    "wespeaker_config": r"has no known weights, and a config.yaml without the class_path",
    "run": r"is the folder of a run and no checkpoint; its config.yaml says which",
    "dead_links": r"embedding_model.ckpt is a link to .*cache/embedding_model.ckpt, which is not there: fetch",
    "dead_link": r"dead_link is a link to /nowhere/weights, which is not there",
    "pointer.npz": r"pointer.npz is a git-LFS pointer and not the file itself: run `git lfs pull`",
    "pointer.h5": r"pointer.h5 is a git-LFS pointer",
    "pointer.pkl": r"pointer.pkl is a git-LFS pointer",
    "pointer.model": r"pointer.model is a git-LFS pointer",
    "pointers": r"pointers/weights.npz is a git-LFS pointer",
    "archive.zip": r"archive.zip is an archive: unpack it",
    "archive.tar.gz": r"archive.tar.gz is an archive: unpack it",
    "old.pth": r"old.pth is a pickle that goes by no name of published weights",
    "new.pth": r"new.pth is a pickle that goes by no name of published weights",
    "empty.npz": r"is an empty file",
    "page.npz": r"is a web page and no weights",
    "model.onnx": r"this is no ONNX network that onnxruntime can run",
    "noise.npy": r"is a file of a format that is not known here, not weights",
    "notes.txt": r"is a text file, not weights",
    "words.pt": r"words.pt must be weights as torch.save writes them, got a file that torch cannot read",
    "hello.pt": r"hello.pt must be weights as torch.save writes them, got a file that torch cannot read",
    "nothing": r"checkpoint .*nothing does not exist",
    "x" * 300: r"checkpoint .*xxx\.\.\. does not exist",
    "x/" * 2500: r"checkpoint .*\.\.\. does not exist",
}


@pytest.mark.parametrize(("kind", "message"), KINDS.items(), ids=[kind[:20] for kind in KINDS])
def test_what_is_no_encoder_is_named(make, kind, message):
    with pytest.raises(CheckpointError, match=message) as error:
        voxcert.load_encoder(make(kind))
    assert kind in ("nothing", "x" * 300, "x/" * 2500) or "does not exist" not in str(error.value)


@pytest.mark.parametrize("kind", ["empty", "dead_links", "pointer.npz", "nothing", "run"])
def test_an_export_says_the_same(make, tmp_path, kind):
    with pytest.raises(CheckpointError, match=KINDS[kind]):
        export(str(make(kind)), str(tmp_path / "exported"))


def test_a_purifier_is_no_encoder(tmp_path):
    save_checkpoint(GaussianFilter(2.0), tmp_path / "own", {})
    message = "must be in voxcert.encoders, got 'voxcert.purifiers.*: a purifier is given by --purifier"
    with pytest.raises(CheckpointError, match=message):
        voxcert.load_encoder(tmp_path / "own")


def test_a_checkpoint_folder_need_not_be_exported(tiny, tmp_path):
    save_checkpoint(tiny, tmp_path / "own", {})
    message = r"a Lightning checkpoint or published weights, got the folder .*own, .* \(--format onnx\) for an ONNX"
    with pytest.raises(CheckpointError, match=message):
        export(str(tmp_path / "own"), str(tmp_path / "exported"))


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert "is an empty file, or cannot be read" in refusal(tmp_path / "pipe")


@pytest.mark.parametrize("name", ["model.safetensors", "embedding_model.ckpt"])
def test_pointers_and_links_in_place_of_weights(tiny, tmp_path, name):
    """In a folder that is known for what it is by its other files, or by the name of the pointer."""
    folder = tmp_path / "folder"
    if name == "model.safetensors":
        save_checkpoint(tiny, folder, {})
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(POINTER)
    with pytest.raises(CheckpointError, match=f"{name} is a git-LFS pointer"):
        voxcert.load_encoder(folder)
    (folder / name).unlink()
    (folder / name).symlink_to("gone")
    with pytest.raises(CheckpointError, match=f"{name} is a link to gone, which is not there"):
        voxcert.load_encoder(folder)


def test_a_pointer_beside_what_is_read_does_no_harm(tiny, tmp_path):
    save_checkpoint(tiny, tmp_path / "folder", {})
    (tmp_path / "folder" / "classifier.ckpt").write_text(POINTER)
    (tmp_path / "folder" / "picture.png").symlink_to("gone")
    assert voxcert.load_encoder(tmp_path / "folder").config == tiny.config


def test_pointers_in_place_of_purifiers(tmp_path):
    (tmp_path / "config.yaml").write_text("class_path: voxcert.purifiers.GaussianFilter\n")
    (tmp_path / "model.safetensors").write_text(POINTER)
    with pytest.raises(CheckpointError, match="model.safetensors is a git-LFS pointer"):
        load_purifier(tmp_path)


def test_configs_in_other_encodings_are_named(tiny, tmp_path):
    save_checkpoint(tiny, tmp_path / "own", {})
    (tmp_path / "own" / "config.yaml").write_bytes("# für\nclass_path: x\n".encode("latin-1"))
    with pytest.raises(CheckpointError, match="config.yaml is not YAML: 'utf-8' codec"):
        voxcert.load_encoder(tmp_path / "own")
    with pytest.raises(CheckpointError, match="is not the checkpoint folder of a purifier: 'utf-8' codec"):
        load_purifier(tmp_path / "own")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_not_finite_are_refused(tiny, tmp_path, value):
    save_checkpoint(tiny, tmp_path / "good", {})
    name = "network.fc.conv.bias"
    with torch.no_grad():
        tiny.get_parameter(name)[3] = value
    save_checkpoint(tiny, tmp_path / "own", {})
    (tmp_path / "published").mkdir()
    torch.save(tiny.network.state_dict(), tmp_path / "published" / "embedding_model.ckpt")
    for folder in ("own", "published"):
        with pytest.raises(
            CheckpointError, match=f"weights in .*{folder} must be finite, got NaN or infinity in {name}"
        ):
            voxcert.load_encoder(tmp_path / folder)
        with pytest.raises(CheckpointError, match="must be finite"):
            load_weights(voxcert.load_encoder(tmp_path / "good"), tmp_path / folder)
    with pytest.raises(CheckpointError, match=f"must be finite, got NaN or infinity in {name}"):
        load_folder(tmp_path / "own", lambda config: type(tiny)(**config["init_args"]), "purifier")
    state = {f"encoder.{name}": weight for name, weight in tiny.state_dict().items()}
    torch.save({"encoder_config": tiny.config, "state_dict": state}, tmp_path / "last.ckpt")
    with pytest.raises(CheckpointError, match=f"last.ckpt must be finite, got NaN or infinity in {name}"):
        export(str(tmp_path / "last.ckpt"), str(tmp_path / "exported"))
    assert not (tmp_path / "exported").exists()
    shutil.rmtree(tmp_path / "good")
