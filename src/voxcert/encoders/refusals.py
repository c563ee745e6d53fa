"""Says what a path is that holds no encoder we can load, and what to do with it. Nothing is unpickled to find out."""

import os
import tarfile
import zipfile
from pathlib import Path

from voxcert.data.names import few

POINTER = b"version https://git-lfs.github.com/spec/"
LIGHTNING = b"pytorch-lightning_version"
PROTOTYPES = "prototypes.safetensors"
"""Of the folder of a run: speakers, and no weights."""
DOCS = "docs/encoders.md lists what can be loaded"


def refusal(path: str | Path) -> str:
    """What a path is that is neither a checkpoint folder of this project nor anything that we know as published.

    Args:
        path: Any; it need not exist.

    Returns:
        A message.
    """
    path = Path(path)
    if not os.path.lexists(path):
        text = str(path)
        return f"checkpoint {text if len(text) <= 200 else f'{text[:100]}...'} does not exist"
    return missing_content(path) or (_folder(path) if path.is_dir() else f"{path} {_file(path)}")


def missing_content(path: Path) -> str | None:
    """A message where a file, or one of a folder, is there by name alone: a dead link, or a pointer of git-LFS.

    Args:
        path: Of a file or a folder.
    """
    for one in _listed(path) if path.is_dir() else [path]:
        if one.is_symlink() and not one.exists():
            return (
                f"{one} is a link to {os.readlink(one)}, which is not there: fetch the files again, or copy them from "
                "where they are with cp -rL, which follows links"
            )
        if _head(one).startswith(POINTER):
            return f"{one} is a git-LFS pointer and not the file itself: run `git lfs pull` in its folder"
    return None


def is_lightning(path: Path) -> bool:
    """Whether a file is a checkpoint that Lightning wrote; some published weights are, too."""
    content = _pickle_in(path)
    return content is not None and LIGHTNING in content


def _folder(path: Path) -> str:
    listed = _listed(path)
    if not listed:
        return f"checkpoint folder {path} is empty"
    lightning = [one for one in listed if one.suffix == ".ckpt" and is_lightning(one)]
    if lightning:
        return f"{path} holds Lightning checkpoints: {_export(lightning[0])}"
    names = [one.name for one in listed]
    has = f"it has {few(names)}"
    if "rows.jsonl" in names or PROTOTYPES in names:
        return f"{path} is the folder of a run and no checkpoint; its config.yaml says which checkpoint it was about"
    if "config.yaml" in names:
        return f"{path} has no known weights, and a config.yaml without the class_path of an encoder: {has}; {DOCS}"
    return f"{path} is no checkpoint folder (config.yaml and model.safetensors), nor published weights: {has}; {DOCS}"


def _file(path: Path) -> str:
    """What a file is, as the end of a sentence that begins with its name."""
    head = _head(path)
    if not head:
        return "is an empty file, or cannot be read"
    if path.suffix == ".ckpt" and is_lightning(path):
        return f"is a Lightning checkpoint: {_export(path)}"
    if path.suffix == ".safetensors":
        return "is one file of a checkpoint folder: give the folder that holds it and its config.yaml"
    if _pickle_in(path) is not None or head[:1] == b"\x80":
        return f"is a pickle that goes by no name of published weights: {DOCS}"
    if zipfile.is_zipfile(path) or tarfile.is_tarfile(path):
        return "is an archive: unpack it and give the folder"
    if head.lstrip()[:1] == b"<":
        return "is a web page and no weights: download the file behind it"
    kind = "a file of a format that is not known here" if b"\0" in head else "a text file"
    return f"is {kind}, not weights: {DOCS}"


def _export(path: Path) -> str:
    return f"`voxcert export {path} checkpoints/NAME` makes a checkpoint folder of it"


def _pickle_in(path: Path) -> bytes | None:
    """The pickle inside a file of torch, unread; None in any other."""
    if not zipfile.is_zipfile(path):
        return None
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if name.endswith("/data.pkl")]
            return archive.read(names[0]) if names else None
    except (OSError, zipfile.BadZipFile):
        return None


def _head(path: Path) -> bytes:
    if not path.is_file():  # a pipe would be waited for
        return b""
    try:
        with path.open("rb") as file:
            return file.read(512)
    except OSError:
        return b""


def _listed(path: Path) -> list[Path]:
    return sorted(one for one in path.iterdir() if not one.name.startswith("."))
