"""Checkpoint folders of purifiers: `model.safetensors`, `config.yaml` and `card.json`, as those of encoders.

Nothing in them is run or unpickled, and the config can name nothing but what `voxcert.purifiers` holds, or a module
that the user trusts (`voxcert.encoders.checkpoint.named_class`).
"""

from pathlib import Path
from typing import Any

from voxcert.encoders.checkpoint import CheckpointError, load_folder, named_class
from voxcert.purifiers.base import Purifier
from voxcert.purifiers.conditioner import Conditioner
from voxcert.purifiers.networks import NoisePredictor
from voxcert.purifiers.schedule import PurificationScheduler

PARTS = Purifier, NoisePredictor, Conditioner, PurificationScheduler  # not those that would read weights from elsewhere
OF_A_RUN = "conditional", "fast_betas", "steps", "start", "checkpointing", "seed"
"""Arguments that a training may change: its weights do not depend on them, or learn what is new."""


def build_purifier(config: dict[str, Any]) -> Purifier:
    """Builds a purifier with fresh weights from its `config`.

    Raises:
        CheckpointError: If the config names anything but purifiers and their parts, or arguments that do not fit.
    """
    if not isinstance(config, dict) or "class_path" not in config:
        raise CheckpointError(f"the purifier's config needs class_path and init_args, got {config!r}")
    purifier = _build(config)
    if not isinstance(purifier, Purifier):
        raise CheckpointError(f"class_path must be a Purifier, got {config['class_path']!r}")
    return purifier


def load_purifier(folder: str | Path) -> Purifier:
    """Loads a purifier from a folder that `save_checkpoint` wrote, in eval mode, on the CPU.

    Args:
        folder: The checkpoint folder.

    Raises:
        CheckpointError: If the folder or a file is missing or of another kind, or if the weights do not fit.

    Examples:
        >>> import torch
        >>> import voxcert
        >>> purifier = voxcert.load_purifier("checkpoints/dap-mini")
        >>> purifier(0.1 * torch.randn(2, 8000)).shape  # half a second of two waveforms
        torch.Size([2, 8000])
    """
    return load_folder(folder, build_purifier, "purifier")


def load_matching(purifier: Purifier, folder: str | Path) -> None:
    """Copies a checkpoint's weights into a purifier that has all of them and may have more, such as a conditioner.

    Raises:
        CheckpointError: As `load_purifier`, if the checkpoint has another network or process, or if a weight of it has
            no place in the purifier.
    """
    loaded = load_purifier(folder)
    state, own = loaded.state_dict(), purifier.state_dict()
    unfit = [name for name, value in state.items() if name not in own or own[name].shape != value.shape]
    if unfit:
        raise CheckpointError(f"{folder} has weights that do not fit the purifier to train: {', '.join(unfit[:3])}")
    before, now = _flat(loaded.config), _flat(purifier.config)
    for name in before:
        if name.rpartition(".")[2] not in OF_A_RUN and name in now and before[name] != now[name]:
            raise CheckpointError(
                f"{folder} has another network or process than the purifier to train: its {name} is {before[name]!r}, "
                f"got {now[name]!r}"
            )
    purifier.load_state_dict(own | state)


def _flat(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """The arguments of a config and of its parts, such as network.hop; parts that are not there are left out."""
    found = {f"{prefix}class_path": config["class_path"]}
    for name, value in config["init_args"].items():
        if isinstance(value, dict) and "class_path" in value:
            found |= _flat(value, f"{prefix}{name}.")
        else:
            found[prefix + name] = list(value) if isinstance(value, tuple) else value
    return found


def _build(config: Any) -> Any:
    """Builds what a config names, its parts first; other values are themselves."""
    if not (isinstance(config, dict) and isinstance(config.get("class_path"), str)):
        return config
    path = config["class_path"]
    found = named_class(path, "voxcert.purifiers", PARTS)
    given = config.get("init_args") or {}
    if not isinstance(given, dict):
        raise CheckpointError(f"init_args of {path} must be names with values, got {given!r}")
    arguments = {key: _build(value) for key, value in given.items()}
    try:
        return found(**arguments)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"init_args of {path} do not fit: {error}") from error
