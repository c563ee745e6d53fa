"""From a training run of `GeneratorModule` to a checkpoint folder that anyone can load: safetensors, config and card.

The folder needs neither Lightning nor the run it came from; `voxcert.attacks.ssed(network=FOLDER)` attacks with it.
"""

from pathlib import Path
from typing import Any

import yaml

from voxcert.attacks.generator_checkpoint import build_generator, save_generator
from voxcert.attacks.generator_network import SaliencyGenerator
from voxcert.encoders.checkpoint import CONFIG, WEIGHTS, CheckpointError, read_pickled


def export_generator(
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
            folder up.
        folder: The checkpoint folder to write, such as checkpoints/NAME.
        command: The command that trained it, for the card.
        license: Licence of the weights, as the hub spells it.
        attribution: Credit that the training data asks for.
        overwrite: Replace a checkpoint that the folder holds.

    Returns:
        The folder.

    Raises:
        CheckpointError: If the source is missing or no checkpoint of a generator.
        ValueError: If the folder holds a checkpoint and `overwrite` is off.
    """
    target = Path(folder)
    taken = [name for name in (WEIGHTS, CONFIG) if (target / name).exists()]
    if taken and not overwrite:
        raise ValueError(f"folder must not hold a checkpoint (or set overwrite), got {target} with {taken[0]}")
    generator, training = _read_lightning(Path(source))
    training |= _read_run(Path(source))
    if command:
        training["command"] = command
    card = {
        "license": license,
        "parameters": sum(parameter.numel() for parameter in generator.parameters()),
        "training": training,
        "attribution": attribution,
        "metrics": [],
    }
    save_generator(generator, target, card)
    return target


def _read_lightning(path: Path) -> tuple[SaliencyGenerator, dict[str, Any]]:
    """The generator of a Lightning checkpoint, and what the checkpoint itself knows of its training."""
    checkpoint = read_pickled(path)
    if not isinstance(checkpoint, dict) or not {"generator_config", "state_dict"} <= checkpoint.keys():
        raise CheckpointError(f"{path} has no generator_config and state_dict: no generator was trained in it")
    generator, prefix = build_generator(checkpoint["generator_config"]), "generator."
    state = {name[len(prefix) :]: value for name, value in checkpoint["state_dict"].items() if name.startswith(prefix)}
    try:
        generator.load_state_dict(state)
    except RuntimeError as error:
        raise CheckpointError(f"the weights in {path} do not fit its generator_config: {error}") from error
    return generator.eval(), {"epochs": checkpoint.get("epoch", -1) + 1, "steps": checkpoint.get("global_step", 0)}


def _read_run(checkpoint: Path) -> dict[str, Any]:
    """Data, victim and weights of the losses, from the config that was saved with the run."""
    nearby = [folder / "config.yaml" for folder in checkpoint.resolve().parents[:2]]
    path = next((path for path in nearby if path.is_file()), None)
    if path is None:
        return {}
    run = yaml.safe_load(path.read_text())
    model = dict(run["model"]["init_args"])
    del model["generator"]
    return {"data": run["data"], "model": model}
