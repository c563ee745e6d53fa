"""From a training run to a checkpoint folder that anyone can load: safetensors, config, card and a model card.

The folder needs neither Lightning nor the run it came from; its README follows the model cards of the Hugging Face hub.
"""

from pathlib import Path
from typing import Any

import yaml

from voxcert.encoders.base import Encoder
from voxcert.encoders.checkpoint import CONFIG, WEIGHTS, CheckpointError, build_encoder, read_pickled, save_encoder
from voxcert.encoders.loading import is_checkpoint, load_encoder
from voxcert.evaluation.card import write_readme


def export(
    source: str,
    folder: str,
    *,
    config: str | None = None,
    command: str | None = None,
    license: str = "apache-2.0",
    attribution: str | None = None,
    overwrite: bool = False,
) -> Path:
    """Writes a checkpoint folder: model.safetensors, config.yaml, card.json and README.md.

    Args:
        source: A Lightning checkpoint (.ckpt) of `train.py`, or a local copy of what an encoder's authors published
            (docs/encoders.md). Where the run averaged its weights, the averages are exported.
        folder: The checkpoint folder to write, such as checkpoints/NAME.
        config: The config.yaml of the training run; looked for beside the checkpoint and one folder up when null.
        command: The command that trained it, for the card.
        license: Licence of the weights, as the hub spells it.
        attribution: Credit that the training data asks for; known for LibriSpeech and VoxCeleb.
        overwrite: Replace a checkpoint that the folder holds.

    Returns:
        The folder.

    Raises:
        CheckpointError: If the source is missing or no such checkpoint.
        ValueError: If the folder holds a checkpoint and `overwrite` is off, or `config` cannot be read.
    """
    target = Path(folder)
    taken = [name for name in (WEIGHTS, CONFIG) if (target / name).exists()]
    if taken and not overwrite:
        raise ValueError(f"folder must not hold a checkpoint (or set overwrite), got {target} with {taken[0]}")
    if not is_checkpoint(source):
        encoder, training = load_encoder(source), {"source": f"published weights ({Path(source).name})"}
    else:
        encoder, training = _read_lightning(Path(source))
        training |= _read_run(Path(source), config)
    if command:
        training["command"] = command
    card = {
        "license": license,
        "parameters": sum(parameter.numel() for parameter in encoder.parameters()),
        "training": training,
        "attribution": attribution,
        "metrics": [],
    }
    save_encoder(encoder, target, card)
    write_readme(target)
    return target


def _read_lightning(path: Path) -> tuple[Encoder, dict[str, Any]]:
    """The encoder of a Lightning checkpoint, and what the checkpoint itself knows of its training.

    Lightning's WeightAveraging stores the averaged weights as `state_dict` (and those that were being trained as
    `current_model_state`), so the averages need no case of their own.
    """
    if not path.is_file():
        raise CheckpointError(f"checkpoint {path} does not exist, or is a folder of nothing that anyone published")
    checkpoint = read_pickled(path)
    if not isinstance(checkpoint, dict) or not {"encoder_config", "state_dict"} <= checkpoint.keys():
        raise CheckpointError(f"{path} has no encoder_config and state_dict: it was not written by train.py")
    encoder = build_encoder(checkpoint["encoder_config"])
    prefix = "encoder."
    state = {name[len(prefix) :]: value for name, value in checkpoint["state_dict"].items() if name.startswith(prefix)}
    try:
        encoder.load_state_dict(state)
    except RuntimeError as error:
        raise CheckpointError(f"the weights in {path} do not fit its encoder_config: {error}") from error
    return encoder.eval(), {
        "epochs": checkpoint.get("epoch", -1) + 1,
        "steps": checkpoint.get("global_step", 0),
        "averaged": "averaging_state" in checkpoint,
    }


def _read_run(checkpoint: Path, config: str | None) -> dict[str, Any]:
    """Data, noise and hyper-parameters from the config that Lightning saved with the run."""
    nearby = [folder / "config.yaml" for folder in checkpoint.resolve().parents[:2]]
    path = Path(config) if config else next((path for path in nearby if path.is_file()), None)
    if path is None:
        return {}
    try:
        run = yaml.safe_load(path.read_text())
        model = run["model"]
        model = dict(model.get("init_args", model))
        data = run["data"]
    except (OSError, yaml.YAMLError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"config must be the config.yaml of a training run, got {path}: {error!r}") from error
    model.pop("encoder", None)
    return {"noise": model.pop("noise", None), "data": data, "model": model}
