"""What a run of one or several processes needs around Lightning: unions of dictionaries, seeds, the run's folder."""

from pathlib import Path
from typing import TypeVar

import lightning as L
import torch
import torch.distributed as dist

T = TypeVar("T")


def gather_dict(values: dict[str, T]) -> dict[str, T]:
    """Returns the union of `values` over all processes; keys that several processes hold count once."""
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return values
    parts: list[dict[str, T]] = [{} for _ in range(dist.get_world_size())]
    dist.all_gather_object(parts, values)
    return {key: value for part in parts for key, value in part.items()}


def draw_apart(trainer: L.Trainer) -> None:
    """Gives every process random numbers of its own, at the start of a training: Lightning seeds all alike."""
    if trainer.world_size > 1:
        torch.manual_seed(torch.initial_seed() + trainer.global_rank)


def run_folder(trainer: L.Trainer) -> Path | None:
    """The folder of this run alone, for files of the first process; None where nothing is logged.

    Without a logger a run has no folder of its own, and its files might replace a user's.

    `trainer.log_dir` is a collective, and for Weights & Biases it is the folder that all runs share; checkpoints go to
    `save_dir/name/version` there, and so does what belongs to them.
    """
    logger = trainer.logger
    if logger is None or trainer.fast_dev_run:
        return None
    if logger.log_dir is not None:
        return Path(logger.log_dir)
    return Path(logger.save_dir or trainer.default_root_dir) / str(logger.name) / str(logger.version)
