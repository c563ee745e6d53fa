"""Encoders from a checkpoint folder of this project, or from the files that their authors published.

Everything is local unless the source says `hf:` or `modelscope:`. A published file decides the front-end too, so
weights cannot meet a window or a scale that they were not trained with.
"""

import hashlib
import importlib
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import yaml
from huggingface_hub import snapshot_download
from torch import Tensor, nn

from voxcert.encoders.base import Encoder, public_path
from voxcert.encoders.checkpoint import WEIGHTS, CheckpointError, checkpoint_hash, load_checkpoint, require_finite
from voxcert.encoders.refusals import PROTOTYPES, missing_content, refusal

HUB, MODELSCOPE = "hf:", "modelscope:"
FOLDERS = {
    "avg_model.pt": "published.wespeaker.load_wespeaker",
    "embedding_model.ckpt": "ecapa.load_speechbrain",
    "config.json": "wavlm.load_wavlm",
    "pytorch_model.bin": "pyannote.load_pyannote",
    "configuration.json": "published.three_d_speaker.load_modelscope",
}
"""File that tells a published folder (the first that fits) -> the function of `voxcert.encoders` that reads it."""
FILES = {
    "*.model": "fast_resnet.load_voxceleb_trainer",
    "*.pkl": "sincnet.load_sincnet",
    "*.h5": "deep_speaker.load_deep_speaker",
    "*.pt": "published.single_file.load_file",
    "*.bin": "published.single_file.load_file",
    "*.safetensors": "published.single_file.load_file",
    "*.onnx": "published.onnx.load_onnx",
    "pretrained_eres2net*.ckpt": "published.three_d_speaker.load_released",
    "eres2net_*_model.ckpt": "published.three_d_speaker.load_released",
}
"""Name of a file that is a whole encoder, alone or alone of its kind in a folder -> the function that reads it."""
OF_FOLDERS = {WEIGHTS, PROTOTYPES}
"""Files of folders that this project writes, and no encoders by themselves."""
FETCHED = ["*.yaml", "preprocessor_config.json", *FOLDERS, *(name for name in FILES if name != "*.onnx")]
"""Not ONNX, which lies beside what it was exported from, or in collections of many."""


def load_encoder(source: str | Path) -> Encoder:
    """Loads an encoder, in eval mode, on the CPU.

    Args:
        source: A checkpoint folder of this project; a local copy of what wespeaker, speechbrain, pyannote,
            voxceleb_trainer, SincNet, Deep Speaker, 3D-Speaker, Resemblyzer or Microsoft (WavLM) published;
            an ONNX file (`load_onnx`); or
            `hf:OWNER/NAME` or `modelscope:OWNER/NAME` to fetch such a folder from the Hugging Face hub or ModelScope:
            the only forms that use the network.

    Raises:
        CheckpointError: If the source or a file is missing, the hub cannot be reached, a file is not plain data, or
            weights do not fit or are not finite, or if it cannot be told which of two encoders is meant; the message
            says which, and of what cannot be loaded what it is.

    Examples:
        >>> import torch
        >>> import voxcert
        >>> encoder = voxcert.load_encoder("checkpoints/ecapa-mini")
        >>> embedding = encoder(0.1 * torch.randn(2, 16000))  # two waveforms of one second
        >>> embedding.shape
        torch.Size([2, 192])
    """
    path = _fetch(str(source)) if _is_remote(source) else Path(source)
    if not os.path.exists(path):
        raise CheckpointError(refusal(path))
    read, path = _published(path)
    if read is None and not _is_own(path) and not os.path.isfile(path / WEIGHTS):
        raise CheckpointError(refusal(path))
    try:
        encoder = (read or load_checkpoint)(path)
    except CheckpointError as error:
        if reason := missing_content(path):  # what the reader stumbled over
            raise CheckpointError(reason) from error
        raise
    require_finite(encoder, path)
    return encoder


def load_weights(encoder: Encoder, source: str | Path) -> None:
    """Loads weights into an existing encoder, which must be the very one that the source describes.

    Args:
        encoder: The encoder to fill.
        source: As for `load_encoder`.

    Raises:
        CheckpointError: As `load_encoder`, or if the encoder differs from the source's in class or in any argument.
    """
    loaded = load_encoder(source)
    wanted, got = loaded.config, encoder.config
    if wanted["class_path"] != got["class_path"]:
        raise CheckpointError(f"{source} holds a {wanted['class_path']}, got an encoder {got['class_path']}")
    differences = [
        f"{name} is {value!r} there, got {got['init_args'].get(name)!r}"
        for name, value in wanted["init_args"].items()
        if got["init_args"].get(name) != value
    ]
    if differences:
        raise CheckpointError(f"{source} holds an encoder with other arguments: {'; '.join(differences)}")
    encoder.load_state_dict(loaded.state_dict())


def encoder_hash(encoder: nn.Module) -> str:
    """Identifies an encoder, or any other network, by config and weights: the first 16 hex digits of a SHA-256.

    What has no config goes by its class, by what printing it shows and by the configs of its parts: two that differ in
    nothing but a plain attribute, or in a function that they call, have one hash.
    """
    digest = hashlib.sha256(json.dumps(_described(encoder), sort_keys=True, default=_shown).encode())
    for name, value in sorted(encoder.state_dict().items()):
        digest.update(name.encode())
        digest.update(_content(value))
    return digest.hexdigest()[:16]


def source_hash(source: str | Path, encoder: Encoder) -> str:
    """Identifies an encoder by where it was loaded from: the hash of a checkpoint folder, or else `encoder_hash`."""
    return checkpoint_hash(source) if is_checkpoint(source) else encoder_hash(encoder)


def is_checkpoint(folder: str | Path) -> bool:
    """Whether this is a checkpoint folder of this project, or at least nothing that anyone else published."""
    if _is_remote(folder):
        return False
    return not os.path.exists(folder) or _published(Path(folder))[0] is None


def _described(network: nn.Module) -> dict[str, Any]:
    """How a network is built, as far as it says."""
    config = getattr(network, "config", None)
    if isinstance(config, dict):
        return config
    parts = {name: part.config for name, part in network.named_modules() if hasattr(part, "config")}
    return {"class_path": public_path(type(network)), "shown": _shown(network), "parts": parts}


def _shown(value: Any) -> str:
    """What printing a value shows, without places in memory: the same in every process."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))


def _content(value: Any) -> bytes:
    """The bytes of a tensor of any type; of what else a state may hold, what printing it shows."""
    if not isinstance(value, Tensor) or value.is_quantized:
        return _shown(value).encode()
    return value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def _published(path: Path) -> tuple[Callable[[Path], Encoder] | None, Path]:
    """The function that reads a published folder or file, and what to hand it; None for a folder of this project."""
    if _is_own(path):
        return None, path
    for name, reader in FOLDERS.items():
        if path.name == name or (path / name).is_file():
            return _function(reader), path.parent if path.name == name else path
    candidates = sorted(path.iterdir()) if path.is_dir() else [path]
    found = {file: reader for pattern, reader in FILES.items() for file in candidates if file.match(pattern)}
    found = {file: reader for file, reader in found.items() if file.name not in OF_FOLDERS}
    if len(found) > 1:
        names = ", ".join(sorted(file.name for file in found))
        raise CheckpointError(f"{path} holds {names}: name the file that is meant, not the folder")
    return next(((_function(reader), file) for file, reader in found.items()), (None, path))


def _function(name: str) -> Callable[[Path], Encoder]:
    module, _, function = name.rpartition(".")
    return getattr(importlib.import_module(f"voxcert.encoders.{module}"), function)


def _is_own(folder: Path) -> bool:
    config = folder / "config.yaml"
    try:
        content = yaml.safe_load(config.read_text()) if os.path.isfile(config) else None
    except (yaml.YAMLError, UnicodeDecodeError):
        return False
    return isinstance(content, dict) and "class_path" in content


def _is_remote(source: str | Path) -> bool:
    return str(source).startswith((HUB, MODELSCOPE))


def _fetch(source: str) -> Path:
    """Fetches a published folder from the Hugging Face hub or ModelScope into its cache."""
    try:
        if source.startswith(HUB):
            return Path(snapshot_download(source.removeprefix(HUB), allow_patterns=FETCHED))
        from modelscope import snapshot_download as fetch

        return Path(fetch(source.removeprefix(MODELSCOPE), allow_patterns=FETCHED))
    except ModuleNotFoundError as error:
        raise CheckpointError(f'{source} needs the client of ModelScope: pip install "voxcert[modelscope]"') from error
    except Exception as error:  # the clients raise many kinds: offline, unknown name, no such file
        raise CheckpointError(f"{source} cannot be fetched (a local folder needs no network): {error}") from error
