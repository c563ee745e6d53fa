"""What a training that goes on must keep: its checkpoint restores weights, optimizer and schedule with their numbers.

A flag that says otherwise would be written into the config and the card, and would do nothing; or torch would say that
sizes differ. Random numbers are not restored: Lightning seeds them as it first did, so they are drawn anew.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import WeightAveraging
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from voxcert.data.paths import shown
from voxcert.encoders.checkpoint import CheckpointError
from voxcert.encoders.refusals import is_lightning, missing_content, refusal


def check_ckpt_path(path: str | None) -> None:
    """Refuses what a training did not write, before anything is built or read.

    Args:
        path: What the command line was given: a local path, or what Lightning finds elsewhere (`last`, `hpc`, a URL).

    Raises:
        CheckpointError: If it is a local path without a Lightning checkpoint; says what it is.
    """
    if path is None or path in ("last", "hpc") or ":" in path.partition("/")[0]:
        return
    local = Path(path)
    if not os.path.lexists(local) or missing_content(local):
        raise CheckpointError(refusal(local))
    sharded = local / "meta.pt"  # Lightning's, of a training that splits its weights over devices
    if not is_lightning(sharded if local.is_dir() else local):
        raise CheckpointError(
            f"ckpt_path must be a checkpoint that a training wrote, such as last.ckpt, got {shown(local)!r}; a "
            "checkpoint folder or published weights to start from are for model.init_args.init_from"
        )


def check_kept(module: L.LightningModule, checkpoint: dict[str, Any], names: Sequence[str]) -> None:
    """Refuses to train on with other hyper-parameters than a checkpoint's, or without what averages its weights.

    Args:
        module: It keeps its hyper-parameters.
        checkpoint: That is loaded.
        names: Hyper-parameters that the states of optimizer and schedule stand for.

    Raises:
        ValueError: If one differs; says which, what it was and what was given.
    """
    if "averaging_state" in checkpoint:  # the weights beside it are the averages
        callbacks = [] if module._trainer is None else module._trainer.callbacks
        keep(module, "weight averaging", True, any(isinstance(one, WeightAveraging) for one in callbacks))
    before = checkpoint.get("hyper_parameters", {})
    for name in names:
        now = module.hparams[name]
        keep(module, name, before.get(name, now), now)


def check_network(module: L.LightningModule, checkpoint: dict[str, Any], part: str, free: Sequence[str] = ()) -> None:
    """Refuses to train on with a network that was built otherwise, also where the weights would fit.

    Args:
        module: It trains the network.
        checkpoint: That is loaded; `PART_config` there says how the network was built.
        part: What the module calls the network, such as "encoder".
        free: Arguments that may change, for the training does not depend on them.

    Raises:
        ValueError: If an argument differs; says which, what it was and what was given.
    """
    before, now = arguments(checkpoint.get(f"{part}_config")), arguments(getattr(module, part).config)
    for name in now:
        if name in before and name not in free:  # not what a later version added
            keep(module, f"{part}.{name}", before[name], now[name])


def keep(module: L.LightningModule, name: str, before: Any, now: Any) -> None:
    """Refuses to train on with another value of what a checkpoint's states stand for; to validate with it is all right.

    Raises:
        ValueError: If the two differ while a training goes on.
    """
    trainer = module._trainer  # the property raises where there is none, as in an export
    if trainer is not None and trainer.state.fn == TrainerFn.FITTING and before != now:
        raise ValueError(
            f"a resumed run must keep its {name} {before}, got {now}; for another one, export the checkpoint and start "
            "from it with model.init_args.init_from"
        )


def check_weights(module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
    """Refuses the weights of another model, in one sentence; torch would list every tensor.

    Raises:
        ValueError: If a tensor is missing, of another shape, or one too many; names it.
    """
    if "state_dict" not in checkpoint:
        return  # a strategy that splits weights over devices has loaded them by itself
    before, now = map(_shapes, (checkpoint["state_dict"], module.state_dict()))
    for name in [*now, *before]:
        if before.get(name) != now.get(name):
            own, given = (f"of shape {of[name]}" if name in of else "absent" for of in (now, before))
            raise ValueError(
                f"ckpt_path must be a checkpoint of the model at hand, whose {name} is {own}, got one where it is "
                f"{given}: set model.init_args as in the config.yaml of that training"
            )


def arguments(config: dict[str, Any] | None) -> dict[str, Any]:
    """The class of a network's config, by its last name (older checkpoints name modules), and its arguments.

    Returns:
        Plain values with lists for tuples, so that two of them can be compared; nothing where there is no config.
    """
    if config is None:
        return {}
    kept = json.loads(json.dumps(config["init_args"]))
    return {"class_path": config["class_path"].rpartition(".")[2]} | kept


def draw_anew(module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
    """Moves the seed on by the steps that were made, or batches, crops and noise were those of the first ones again.

    To be called while a checkpoint is loaded: loaders draw before the training starts. On several devices Lightning's
    sampler orders an epoch by its number alone: a training that goes on inside one hears its first recordings again.
    """
    trainer = module._trainer
    if trainer is not None and trainer.state.fn == TrainerFn.FITTING:
        # One seed for each process: its rank is added at the start.
        torch.manual_seed(torch.initial_seed() + trainer.world_size * checkpoint["global_step"])


def _shapes(state: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in state.items()}
