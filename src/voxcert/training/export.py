"""From a training run to what anyone can load: a checkpoint folder (safetensors, config, card), or an ONNX file.

Neither needs Lightning nor the run it came from: `voxcert.load_encoder`, `voxcert.attacks.ssed(network=...)` and
`voxcert.purifiers.load_purifier` take the folder. An encoder's README follows the model cards of the Hugging Face hub.
"""

import os
from pathlib import Path
from typing import Any, Literal

import yaml
from torch import nn

from voxcert.attacks.generator.checkpoint import build_generator
from voxcert.data.identity import labels_hash
from voxcert.encoders.checkpoint import (
    CONFIG,
    WEIGHTS,
    CheckpointError,
    build_encoder,
    read_pickled,
    require_finite,
    save_checkpoint,
)
from voxcert.encoders.loading import is_checkpoint, load_encoder
from voxcert.encoders.onnx_export import export_onnx
from voxcert.encoders.refusals import missing_content, refusal
from voxcert.encoders.sincnet import SincNet
from voxcert.evaluation.cards.model_card import write_readme
from voxcert.purifiers.checkpoint import build_purifier
from voxcert.training.classes import CLASSES

BUILDERS = {"encoder": build_encoder, "generator": build_generator, "purifier": build_purifier}
"""What a run can train, by the name that the LightningModule has for it; its checkpoints hold `NAME_config`."""

RUN_CONFIG = "run_config"
"""Where a checkpoint holds the config of its training run, as text; older ones have none."""


def export(
    source: str,
    target: str,
    *,
    format: Literal["checkpoint", "onnx"] = "checkpoint",
    half: bool = False,
    seconds: float = 3.0,
    config: str | None = None,
    command: str | None = None,
    license: str = "apache-2.0",
    attribution: str | None = None,
    overwrite: bool = False,
) -> Path:
    """Writes a checkpoint folder (model.safetensors, config.yaml, card.json, README.md of an encoder), or an ONNX file.

    Args:
        source: A Lightning checkpoint (.ckpt) of `train.py`, of an encoder, an attack generator or a purifier; or a
            local copy of what an encoder's authors published (docs/encoders.md). Where the run averaged its weights,
            the averages are exported. For ONNX an encoder, also one in a checkpoint folder.
        target: The checkpoint folder to write, such as checkpoints/NAME; or the file, such as NAME.onnx.
        format: `checkpoint` or `onnx` (`voxcert.encoders.export_onnx`).
        half: Whether a checkpoint stores its weights in float16: half the size, and loaded as float32. Certify what is
            written: its weights are rounded.
        seconds: Length of the recordings that an ONNX file hears.
        config: The config.yaml of the training run; when null, what the checkpoint holds, or for an older one the file
            beside it or one folder up.
        command: The command that trained it, for the card.
        license: Licence of the weights, as the hub spells it.
        attribution: Credit that the training data asks for; known for LibriSpeech and VoxCeleb.
        overwrite: Replace a checkpoint that the folder holds, or the file.

    Returns:
        The folder, or the file.

    Raises:
        CheckpointError: If the source is missing or no such checkpoint.
        ValueError: If the target does not fit the format, or is there and `overwrite` is off, `config` cannot be read,
            a weight is too large for `half`, or as `export_onnx`.
    """
    if format not in ("checkpoint", "onnx"):
        raise ValueError(f"format must be checkpoint or onnx, got {format!r}")
    if format == "onnx":
        if half or any(value is not None for value in (config, command, attribution)):
            raise ValueError("half must be false and config, command and attribution null for onnx: it has no card")
        return _export_onnx(Path(source), Path(target), seconds, overwrite)
    target = Path(target)
    if target.suffix.lower() == ".onnx":
        raise ValueError(
            f"format must be onnx (--format onnx) for a target that ends in .onnx, got checkpoint and {target}"
        )
    taken = [name for name in (WEIGHTS, CONFIG) if (target / name).exists()]
    if taken and not overwrite:
        raise ValueError(f"target must not hold a checkpoint (or set overwrite), got {target} with {taken[0]}")
    if not is_checkpoint(source):
        kind, network = "encoder", load_encoder(source)
        training = {"source": f"published weights ({Path(source).name})"}
    else:
        kind, network, training, run = _read_lightning(Path(source))
        training |= _read_run(Path(source), config, run, kind)
    training |= ({"stored": "float16"} if half else {}) | ({"command": command} if command else {})
    card = {
        "license": license,
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "training": training,
        "attribution": attribution,
        "metrics": [],
    }
    save_checkpoint(network, target, card, half)
    if kind == "encoder":
        write_readme(target)
    return target


def _export_onnx(source: Path, target: Path, seconds: float, overwrite: bool) -> Path:
    if target.exists() and not overwrite:
        raise ValueError(f"target must not be there (or set overwrite), got {target}")
    if source.suffix == ".ckpt" and is_checkpoint(source):
        kind, encoder, *_ = _read_lightning(source)
        if kind != "encoder":
            raise ValueError(f"source must be an encoder to be written as ONNX, got a {kind}: {source}")
    else:
        encoder = load_encoder(source)
    return export_onnx(encoder, target, seconds)


def _read_lightning(path: Path) -> tuple[str, nn.Module, dict[str, Any], str | None]:
    """What was trained in a Lightning checkpoint: its kind, itself, how far, and the config of the run if it has it.

    Lightning's WeightAveraging stores the averaged weights as `state_dict` (and those that were being trained as
    `current_model_state`), so the averages need no case of their own.
    """
    if os.path.isfile(path / WEIGHTS) and os.path.isfile(path / CONFIG):
        raise CheckpointError(
            f"source must be a Lightning checkpoint or published weights, got the folder {path}, which "
            "is exported already: set format to onnx (--format onnx) for an ONNX file of it"
        )
    if not os.path.isfile(path) or missing_content(path):
        raise CheckpointError(refusal(path))
    checkpoint = read_pickled(path)
    known = checkpoint.keys() if isinstance(checkpoint, dict) else ()
    kind = next((name for name in BUILDERS if {f"{name}_config", "state_dict"} <= set(known)), None)
    if kind is None:
        wanted = ", ".join(f"{name}_config" for name in BUILDERS)
        raise CheckpointError(f"{path} has no state_dict with one of {wanted}: it was not written by train.py")
    network, prefix = BUILDERS[kind](checkpoint[f"{kind}_config"]), f"{kind}."
    state = {name[len(prefix) :]: value for name, value in checkpoint["state_dict"].items() if name.startswith(prefix)}
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise CheckpointError(f"the weights in {path} do not fit its {kind}_config: {error}") from error
    require_finite(network, path)
    facts = {
        "epochs": _whole_epochs(checkpoint),
        "steps": checkpoint.get("global_step", 0),
        "averaged": "averaging_state" in checkpoint,
    }
    if isinstance(network, SincNet) and checkpoint.get(CLASSES):  # it names speakers: `voxcert invert` asks which
        facts["classes"] = labels_hash(checkpoint[CLASSES])
    return kind, network.eval(), facts, checkpoint.get(RUN_CONFIG)


def _whole_epochs(checkpoint: dict[str, Any]) -> int:
    """Epochs that were trained from the first batch to the last.

    Lightning's own count depends on when a checkpoint was written: in an epoch, at its end, or after the training.
    """
    loop = checkpoint.get("loops", {}).get("fit_loop", {})
    try:
        started, whole = (
            loop["epoch_progress"]["current"]["started"],
            loop["epoch_loop.batch_progress"]["is_last_batch"],
        )
    except KeyError:
        return checkpoint.get("epoch", 0)
    return started if whole else started - 1


def _read_run(checkpoint: Path, config: str | None, kept: str | None, kind: str) -> dict[str, Any]:
    """Data, noise and hyper-parameters from the config that was saved with the run."""
    nearby = [folder / "config.yaml" for folder in checkpoint.resolve().parents[:2]]
    path = Path(config) if config else checkpoint if kept else next((path for path in nearby if path.is_file()), None)
    if path is None:
        return {}
    try:
        run = yaml.safe_load(path.read_text() if path != checkpoint else kept)
        model = run["model"]
        model = dict(model.get("init_args", model))
        data = run["data"]
    except (OSError, yaml.YAMLError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"config must be the config.yaml of a training run, got {path}: {error!r}") from error
    model.pop(kind, None)
    return {"noise": model.pop("noise", None), "data": data, "model": model}
