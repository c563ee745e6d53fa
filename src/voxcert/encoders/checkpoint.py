"""Checkpoint folders: `model.safetensors`, `config.yaml`, `card.json`. No pickle is ever read, and the config can name
nothing but encoder classes of this package, so a folder from a stranger is data and not a program. A user may trust
modules of their own, by the environment variable of `named_class`.

`voxcert.encoders.loading` also takes what the encoders' authors published.
"""

import hashlib
import importlib
import inspect
import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
import yaml
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from voxcert.encoders.base import Encoder
from voxcert.encoders.privacy import without_places
from voxcert.encoders.refusals import missing_content, refusal
from voxcert.rows import replace_file

WEIGHTS, CONFIG, CARD = "model.safetensors", "config.yaml", "card.json"
Network = TypeVar("Network", bound=nn.Module)
TRUSTED_MODULES = "VOXCERT_TRUSTED_MODULES"
USES = {
    "voxcert.encoders": "an encoder is given by --checkpoint (load_encoder)",
    "voxcert.purifiers": "a purifier is given by --purifier (load_purifier)",
    "voxcert.attacks": "a generator is given to its attack (voxcert.attacks.ssed)",
}
"""Where what is a folder of ours, but of another kind, belongs."""
PICKLES = {".pt", ".pth", ".ckpt", ".bin", ".pkl", ".pickle"}


class CheckpointError(ValueError):
    """A checkpoint folder that cannot be used; the message names the file and the reason."""


def named_class(path: str, package: str, kinds: tuple[type, ...]) -> type:
    """The class that a checkpoint names; no module is imported but ours and those that the user trusts.

    The environment variable VOXCERT_TRUSTED_MODULES holds the names of modules, separated by commas, that a checkpoint
    may name as well, and all that lies below them.

    Args:
        path: Import path of the class.
        package: Where it lies if it is ours.
        kinds: What it must be a subclass of, one of these.

    Raises:
        CheckpointError: If it lies elsewhere, cannot be imported, or is no such class.
    """
    module, _, name = path.rpartition(".")
    named = os.environ.get(TRUSTED_MODULES, "")
    trusted = [one.strip() for one in named.split(",") if one.strip()]
    if not any(f"{module}.".startswith(f"{one}.") for one in [package, *trusted]):
        for other, use in USES.items():
            if f"{module}.".startswith(f"{other}."):
                raise CheckpointError(f"class_path must be in {package}, got {path!r}: {use}")
        raise CheckpointError(
            f"class_path must be in {package}, or in a module of your own that the environment variable "
            f"{TRUSTED_MODULES} names ({named!r} now; docs/extend.md), got {path!r}"
        )
    try:
        found = getattr(importlib.import_module(module), name, None)
    except ImportError as error:
        where = "" if module.startswith(package) else " (modules of your own are found on PYTHONPATH)"
        raise CheckpointError(f"class_path {path!r} cannot be imported: {error}{where}") from error
    if not (inspect.isclass(found) and issubclass(found, kinds)) or inspect.isabstract(found):
        wanted = " or ".join(kind.__name__ for kind in kinds)
        raise CheckpointError(f"class_path must be of the kind {wanted}, not abstract, got {path!r}")
    return found


def build_encoder(config: dict[str, Any]) -> Encoder:
    """Builds an encoder with fresh weights from `{"class_path": ..., "init_args": {...}}`.

    Args:
        config: `class_path` is the import path of an `Encoder` inside `voxcert.encoders`, or in a module that the user
            trusts (`named_class`); `init_args` its arguments.

    Raises:
        CheckpointError: If the config names anything else, or arguments that the class does not take.
    """
    if not isinstance(config, dict) or not isinstance(config.get("class_path"), str):
        raise CheckpointError(f"the encoder's config needs class_path and init_args, got {config!r}")
    path, arguments = config["class_path"], config.get("init_args") or {}
    encoder_class = named_class(path, "voxcert.encoders", (Encoder,))
    try:
        return encoder_class(**arguments)
    except TypeError as error:
        raise CheckpointError(f"init_args of {path} do not fit: {error}") from error


def save_checkpoint(network: nn.Module, folder: str | Path, card: dict[str, Any], half: bool = False) -> None:
    """Writes a checkpoint folder.

    Args:
        network: What was trained: an encoder, or anything else that has a `config`.
        folder: Created if missing.
        card: What it was trained on and what was measured; JSON.
        half: Whether to store what was learnt in float16, which halves the file; it is loaded as float32. Rounding
            makes it another network, if only by a thousandth. Statistics of batch normalisation stay as they are.

    Raises:
        ValueError: If a weight is too large for float16.
        OSError: If a file cannot be written, on a full disk for example; names it. The old one is left.
    """
    folder = Path(folder)
    weights = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    for name, _ in network.named_parameters() if half else ():
        weights[name] = weights[name].half()
        if not weights[name].isfinite().all():
            raise ValueError(f"half must be false for weights beyond the 65504 of float16, got such a weight in {name}")
    replace_file(folder / WEIGHTS, save(weights))  # safetensors' own writing names no file, and lets only us read it
    replace_file(folder / CONFIG, yaml.safe_dump(network.config, sort_keys=False))
    write_card(folder, card)


def write_card(folder: str | Path, card: dict[str, Any]) -> None:
    """Writes `card.json` of a checkpoint folder, which may be published: without absolute paths."""
    replace_file(Path(folder) / CARD, json.dumps(without_places(card), indent=2) + "\n")


def read_card(folder: str | Path) -> dict[str, Any]:
    """Reads `card.json` of a checkpoint folder; CheckpointError if it is missing or damaged."""
    path = _require(Path(folder), CARD)
    try:
        return dict(json.loads(path.read_text()))
    except (ValueError, TypeError) as error:
        raise CheckpointError(f"{path} is not the card of a checkpoint, a JSON object: {error}") from error


def load_checkpoint(folder: str | Path) -> Encoder:
    """Loads an encoder from a checkpoint folder of this project, in eval mode, on the CPU.

    Args:
        folder: A folder written by `save_checkpoint` (`voxcert export`).

    Raises:
        CheckpointError: If the folder or a file is missing, if the weights are not safetensors (a pickle is never
            read), or if they do not fit the config; the message says which.
    """
    folder = Path(folder)
    try:
        config = yaml.safe_load(_require(folder, CONFIG).read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{folder / CONFIG} is not YAML: {error}") from error
    encoder = build_encoder(config)
    _load_state(encoder, _read_safetensors(_require(folder, WEIGHTS)), folder / WEIGHTS)
    return encoder.eval()


def load_folder(folder: str | Path, build: Callable[[dict[str, Any]], Network], kind: str) -> Network:
    """Loads what is no encoder, such as a purifier, from a folder that `save_checkpoint` wrote.

    Args:
        folder: The folder.
        build: Makes the network, with fresh weights, from its config.
        kind: What it is, for messages.

    Returns:
        The network in eval mode, on the CPU.

    Raises:
        CheckpointError: If the folder or a file is missing or of another kind, or if the weights do not fit or are
            not finite.
    """
    folder = Path(folder)
    try:
        network = build(yaml.safe_load((folder / CONFIG).read_text()))
        network.load_state_dict(load_file(folder / WEIGHTS))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, SafetensorError, RuntimeError) as error:
        reason = missing_content(folder) if folder.is_dir() else None
        raise CheckpointError(reason or f"{folder} is not the checkpoint folder of a {kind}: {error}") from error
    require_finite(network, folder)
    return network.eval()


def require_finite(network: nn.Module, source: str | Path) -> None:
    """Refuses weights with which nothing can be computed, as a diverged training leaves them.

    Raises:
        CheckpointError: If a weight is NaN or infinite; names its tensor.
    """
    for name, value in network.state_dict().items():
        if not value.isfinite().all():
            raise CheckpointError(f"the weights in {source} must be finite, got NaN or infinity in {name}")


def read_pickled(path: Path) -> Any:
    """Reads a published file of torch without running what it may hold: tensors and plain containers only.

    Raises:
        CheckpointError: If the file is missing, or is anything but that.
    """
    if not path.is_file():
        raise CheckpointError(f"{path} is missing")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a file that is torn or of another format
        with path.open("rb") as file:
            is_pickle = file.read(2).startswith((b"\x80", b"PK"))
        if is_pickle and isinstance(error, pickle.UnpicklingError):
            message = "is not a file of tensors and plain values alone; what else it holds is never run"
            raise CheckpointError(f"{path} {message}") from error
        got = f"a file that torch cannot read ({type(error).__name__}: {error}".splitlines()[0]
        raise CheckpointError(f"{path} must be weights as torch.save writes them, got {got})") from error


def read_state(path: Path) -> dict[str, Tensor]:
    """Reads a state dict from safetensors, or from a file of torch without running what it may hold.

    In a file of torch it may be the entry `model_state` of a training's checkpoint.

    Raises:
        CheckpointError: If the file is missing, or holds anything but named tensors.
    """
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    state = read_pickled(path)
    if isinstance(state, dict):
        state = state.get("model_state", state)
    if not isinstance(state, dict) or not all(isinstance(name, str) for name in state):
        raise CheckpointError(f"{path} is not a state dict")
    if wrong := [name for name, value in state.items() if not isinstance(value, Tensor)]:
        raise CheckpointError(f"{path} is not a state dict: {wrong[0]} is no tensor")
    return state


def checkpoint_hash(folder: str | Path) -> str:
    """Identifies an encoder: the first 16 hex digits of the SHA-256 of its config and weights."""
    digest = hashlib.sha256()
    for name in (CONFIG, WEIGHTS):
        digest.update(_require(Path(folder), name).read_bytes())
    return digest.hexdigest()[:16]


_CONVERT = (
    """python -c 'import torch, safetensors.torch as s; s.save_file(torch.load("{}", weights_only=True), """
    f""""{WEIGHTS}")' makes safetensors of a state dict there"""
)


def _require(folder: Path, name: str) -> Path:
    path = folder / name
    if os.path.isfile(path):
        return path
    if not os.path.isdir(folder):
        raise CheckpointError(refusal(folder))
    found = sorted(file.name for file in folder.iterdir())
    pickles = [file for file in found if Path(file).suffix in PICKLES]
    hint = f"; {pickles[0]} is a pickle, which is never read: {_CONVERT.format(pickles[0])}" if pickles else ""
    raise CheckpointError(f"{path} is missing (the folder has {', '.join(found) or 'nothing'}){hint}")


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise CheckpointError(f"{path} is missing")
    try:
        return load_file(path)
    except SafetensorError as error:
        raise CheckpointError(f"{path} is not a safetensors file (a pickle is never read): {error}") from error


def _load_state(encoder: Encoder, state: dict[str, Tensor], path: Path) -> None:
    try:
        encoder.load_state_dict(state)
    except RuntimeError as error:
        raise CheckpointError(f"the weights in {path} do not fit the config: {error}") from error
