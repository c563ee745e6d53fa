"""What a training that goes on must keep, and what it must not repeat.

Its checkpoint restores optimizer and schedule with their own numbers: a flag that says otherwise would be written into
the config and the card, and would do nothing. Random numbers are not restored: Lightning seeds them as it first did.
"""

from collections.abc import Sequence
from typing import Any

import lightning as L
import torch
from lightning.pytorch.trainer.states import TrainerFn


def resume(module: L.LightningModule, checkpoint: dict[str, Any], names: Sequence[str]) -> None:
    """Refuses to train on with other learning rates than a checkpoint's, and draws other numbers than at its beginning.

    The seed is moved on by the step, so that batches, crops and noise are not those of the first epoch once more.

    Args:
        module: It keeps its hyper-parameters.
        checkpoint: That is loaded.
        names: Hyper-parameters that the states of optimizer and schedule stand for.

    Raises:
        ValueError: If one differs; says which, what it was and what was given.
    """
    trainer = module._trainer  # the property raises where there is none, as in an export
    if trainer is None or trainer.state.fn != TrainerFn.FITTING:
        return
    before = checkpoint.get("hyper_parameters", {})
    for name in names:
        now = module.hparams[name]
        if before.get(name, now) != now:
            raise ValueError(
                f"a resumed run must keep its {name} {before[name]}, got {now}; for another one, export the checkpoint "
                "and start from it with model.init_args.init_from"
            )
    # Here, for loaders draw before the training starts; one seed for each process, whose rank is added then.
    torch.manual_seed(torch.initial_seed() + trainer.world_size * checkpoint["global_step"])


def check_steps(planned: int, steps: float) -> None:
    """Refuses to train on along a schedule that was planned for another number of steps.

    Args:
        planned: Steps of the schedule, as it was restored.
        steps: Of this run.

    Raises:
        ValueError: If they differ.
    """
    if planned != steps:
        raise ValueError(
            f"a resumed run must keep its {planned} steps (trainer.max_epochs, trainer.max_steps and the data), got "
            f"{steps:g}; to train longer, export the checkpoint and start from it with model.init_args.init_from"
        )
