"""From a training run of `PurifierModule` to a checkpoint folder that anyone can load: safetensors, config and card.

The folder needs neither Lightning nor the run it came from; `voxcert.purifiers.load_purifier(FOLDER)` loads it.
"""

from pathlib import Path
from typing import Any

import yaml

from voxcert.encoders.checkpoint import CONFIG, WEIGHTS, CheckpointError, read_pickled
from voxcert.purifiers.base import Purifier
from voxcert.purifiers.checkpoint import build_purifier, save_purifier


def export_purifier(
    source: str | Path,
    folder: str | Path,
    *,
    command: str | None = None,
    license: str = "apache-2.0",
    attribution: str | None = None,
    overwrite: bool = False,
) -> Path:
    """Writes a checkpoint folder: model.safetensors, config.yaml and card.json.

    Args:
        source: A Lightning checkpoint (.ckpt) of `train.py`; the run's config.yaml is looked for beside it and one
            folder up. Where the run averaged its weights, the averages are exported.
        folder: The checkpoint folder to write, such as checkpoints/NAME.
        command: The command that trained it, for the card.
        license: Licence of the weights, as the hub spells it.
        attribution: Credit that the training data asks for.
        overwrite: Replace a checkpoint that the folder holds.

    Returns:
        The folder.

    Raises:
        CheckpointError: If the source is missing or no checkpoint of a purifier.
        ValueError: If the folder holds a checkpoint and `overwrite` is off.
    """
    target = Path(folder)
    taken = [name for name in (WEIGHTS, CONFIG) if (target / name).exists()]
    if taken and not overwrite:
        raise ValueError(f"folder must not hold a checkpoint (or set overwrite), got {target} with {taken[0]}")
    purifier, training = _read_lightning(Path(source))
    training |= _read_run(Path(source))
    if command:
        training["command"] = command
    card = {
        "license": license,
        "parameters": sum(parameter.numel() for parameter in purifier.parameters()),
        "training": training,
        "attribution": attribution,
        "metrics": [],
    }
    save_purifier(purifier, target, card)
    return target


def _read_lightning(path: Path) -> tuple[Purifier, dict[str, Any]]:
    """The purifier of a Lightning checkpoint, and what the checkpoint itself knows of its training."""
    checkpoint = read_pickled(path)
    if not isinstance(checkpoint, dict) or not {"purifier_config", "state_dict"} <= checkpoint.keys():
        raise CheckpointError(f"{path} has no purifier_config and state_dict: no purifier was trained in it")
    purifier, prefix = build_purifier(checkpoint["purifier_config"]), "purifier."
    state = {name[len(prefix) :]: value for name, value in checkpoint["state_dict"].items() if name.startswith(prefix)}
    try:
        purifier.load_state_dict(state)
    except RuntimeError as error:
        raise CheckpointError(f"the weights in {path} do not fit its purifier_config: {error}") from error
    return purifier.eval(), {
        "epochs": checkpoint.get("epoch", -1) + 1,
        "steps": checkpoint.get("global_step", 0),
        "averaged": "averaging_state" in checkpoint,
    }


def _read_run(checkpoint: Path) -> dict[str, Any]:
    """Data, attack, victim and hyper-parameters, from the config that was saved with the run."""
    nearby = [folder / "config.yaml" for folder in checkpoint.resolve().parents[:2]]
    path = next((path for path in nearby if path.is_file()), None)
    if path is None:
        return {}
    run = yaml.safe_load(path.read_text())
    model = dict(run["model"]["init_args"])
    del model["purifier"]
    return {"data": run["data"], "model": model}
