"""Several processes for one job through Lightning Fabric: every process does its share, nothing is synchronised."""

import os
from collections.abc import Iterable, Iterator
from datetime import timedelta

import torch
from lightning.fabric import Fabric
from lightning.fabric.strategies import DDPStrategy

LONGEST_WAIT = timedelta(days=7)  # of a process that is done with its share for the others


def launch(accelerator: str, devices: int | str, num_nodes: int) -> Fabric:
    """Starts one process per device; each runs the whole program again.

    Args:
        accelerator: auto, cpu, cuda or mps.
        devices: Processes per node, or auto.
        num_nodes: Machines.

    Raises:
        ValueError: If the accelerator is not there.
    """
    alone = devices == 1 and num_nodes == 1
    strategy = "auto" if alone else DDPStrategy(timeout=LONGEST_WAIT)
    try:
        fabric = Fabric(accelerator=accelerator, strategy=strategy, devices=devices, num_nodes=num_nodes)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"accelerator {accelerator!r} with devices {devices!r} cannot be used: {error}") from error
    fabric.launch()
    return fabric


def while_parent_lives(indices: Iterable[int], fabric: Fabric) -> Iterator[int]:
    """Stops a process whose launcher was killed: it would compute on, for a merge that never comes.

    Raises:
        RuntimeError: If the process that started this one has gone.
    """
    parent = os.getppid()
    for index in indices:
        if fabric.local_rank != 0 and os.getppid() != parent:
            raise RuntimeError("the process that started this one has gone")
        yield index


def device_name(device: torch.device) -> str:
    """Name of the device, for records of speed."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
