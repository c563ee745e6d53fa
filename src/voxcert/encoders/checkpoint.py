"""Checkpoint folders: `model.safetensors`, `config.yaml`, `card.json`. No pickle is ever read, and the config can name
nothing but encoder classes of this package, so a folder from a stranger is data and not a program.
"""

import hashlib
import importlib
import inspect
import json
from pathlib import Path
from typing import Any

import torch
import yaml
from huggingface_hub import hf_hub_download
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from voxcert.encoders.base import Encoder

WEIGHTS, CONFIG, CARD = "model.safetensors", "config.yaml", "card.json"
HUB = "hf:"
PICKLES = {".pt", ".pth", ".ckpt", ".bin", ".pkl", ".pickle"}


class CheckpointError(ValueError):
    """A checkpoint folder that cannot be used; the message names the file and the reason."""


def build_encoder(config: dict[str, Any]) -> Encoder:
    """Builds an encoder with fresh weights from `{"class_path": ..., "init_args": {...}}`.

    Args:
        config: `class_path` is the import path of an `Encoder` inside `voxcert.encoders`; `init_args` its arguments.

    Raises:
        CheckpointError: If the config names anything else, or arguments that the class does not take.
    """
    if not isinstance(config, dict) or not isinstance(config.get("class_path"), str):
        raise CheckpointError(f"the encoder's config needs class_path and init_args, got {config!r}")
    path, arguments = config["class_path"], config.get("init_args") or {}
    module_name, _, name = path.rpartition(".")
    if not (module_name + ".").startswith("voxcert.encoders."):
        raise CheckpointError(f"class_path must be an encoder class of voxcert.encoders, got {path!r}")
    try:
        encoder_class = getattr(importlib.import_module(module_name), name, None)
    except ImportError as error:
        raise CheckpointError(f"class_path {path!r} cannot be imported: {error}") from error
    if not (inspect.isclass(encoder_class) and issubclass(encoder_class, Encoder)) or inspect.isabstract(encoder_class):
        raise CheckpointError(f"class_path must be an encoder class of voxcert.encoders, got {path!r}")
    try:
        return encoder_class(**arguments)
    except TypeError as error:
        raise CheckpointError(f"init_args of {path} do not fit: {error}") from error


def save_encoder(encoder: Encoder, folder: str | Path, card: dict[str, Any]) -> None:
    """Writes a checkpoint folder.

    Args:
        encoder: The trained encoder.
        folder: Created if missing.
        card: What it was trained on and what was measured; JSON.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: value.detach().cpu().contiguous() for name, value in encoder.state_dict().items()}
    save_file(weights, folder / WEIGHTS)
    (folder / CONFIG).write_text(yaml.safe_dump(encoder.config, sort_keys=False))
    write_card(folder, card)


def write_card(folder: str | Path, card: dict[str, Any]) -> None:
    """Writes `card.json` of a checkpoint folder."""
    (Path(folder) / CARD).write_text(json.dumps(card, indent=2) + "\n")


def read_card(folder: str | Path) -> dict[str, Any]:
    """Reads `card.json` of a checkpoint folder; CheckpointError if it is missing."""
    return json.loads(_require(Path(folder), CARD).read_text())


def load_encoder(folder: str | Path) -> Encoder:
    """Loads an encoder from a checkpoint folder, in eval mode, on the CPU.

    Args:
        folder: A folder written by `save_encoder` (`voxcert export`).

    Raises:
        CheckpointError: If the folder or a file is missing, if the weights are not safetensors (a pickle is never
            read), or if they do not fit the config; the message says which.
    """
    folder = Path(folder)
    try:
        config = yaml.safe_load(_require(folder, CONFIG).read_text())
    except yaml.YAMLError as error:
        raise CheckpointError(f"{folder / CONFIG} is not YAML: {error}") from error
    encoder = build_encoder(config)
    _load_state(encoder, _read_safetensors(_require(folder, WEIGHTS)), folder / WEIGHTS)
    return encoder.eval()


def load_weights(encoder: Encoder, source: str | Path) -> None:
    """Loads published or exported weights into an existing encoder, strictly.

    Args:
        encoder: The encoder to fill.
        source: A checkpoint folder of this project, a local copy of a speechbrain model folder (`embedding_model.ckpt`,
            read with `weights_only=True`), or `hf:OWNER/NAME` to fetch such a model from the Hugging Face hub: the
            only form that uses the network.

    Raises:
        CheckpointError: If neither is there, the hub cannot be reached, or the weights do not fit.
    """
    source = _fetch(str(source).removeprefix(HUB)) if str(source).startswith(HUB) else Path(source)
    published = source / "embedding_model.ckpt"
    if published.is_file():
        try:
            state = torch.load(published, map_location="cpu", weights_only=True)
        except Exception as error:  # torch raises many kinds for a file that is not a plain state dict
            raise CheckpointError(f"{published} is not a plain state dict: {error}") from error
        _load_state(encoder.network, state, published)
    else:
        _load_state(encoder, _read_safetensors(_require(source, WEIGHTS)), source / WEIGHTS)


def _fetch(name: str) -> Path:
    """Fetches a speechbrain model's weights from the Hugging Face hub into its cache; returns their folder."""
    try:
        return Path(hf_hub_download(name, "embedding_model.ckpt")).parent
    except Exception as error:  # the client raises many kinds: offline, unknown name, no such file
        raise CheckpointError(f"{HUB}{name} cannot be fetched (a local folder needs no network): {error}") from error


def checkpoint_hash(folder: str | Path) -> str:
    """Identifies an encoder: the first 16 hex digits of the SHA-256 of its config and weights."""
    digest = hashlib.sha256()
    for name in (CONFIG, WEIGHTS):
        digest.update(_require(Path(folder), name).read_bytes())
    return digest.hexdigest()[:16]


def _require(folder: Path, name: str) -> Path:
    path = folder / name
    if path.is_file():
        return path
    if not folder.is_dir():
        raise CheckpointError(f"checkpoint folder {folder} does not exist")
    found = sorted(file.name for file in folder.iterdir())
    pickles = [file for file in found if Path(file).suffix in PICKLES]
    hint = f"; {pickles[0]} is a pickle, which is never read: export it to safetensors first" if pickles else ""
    raise CheckpointError(f"{path} is missing (the folder has {', '.join(found) or 'nothing'}){hint}")


def _read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    try:
        return load_file(path)
    except SafetensorError as error:
        raise CheckpointError(f"{path} is not a safetensors file (a pickle is never read): {error}") from error


def _load_state(module: torch.nn.Module, state: dict[str, torch.Tensor], path: Path) -> None:
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        raise CheckpointError(f"the weights in {path} do not fit the config: {error}") from error
