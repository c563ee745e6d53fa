"""Several processes for one job through Lightning Fabric: they share the tasks, nothing is synchronised."""

import ctypes
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
from lightning.fabric import Fabric
from lightning.fabric.strategies import DDPStrategy
from torch import Tensor, nn

from voxcert.smoothing.devices import device_name

LONGEST_WAIT = timedelta(days=1)  # of a process for the first one, which enrols
MALLOC_OPTIONS = {-4: 0, -1: 2**31 - 1, -2: 2**28}
"""M_MMAP_MAX: no block has a mapping of its own; M_TRIM_THRESHOLD and M_TOP_PAD, bytes: nothing is given back."""

LEAST_ROWS = 16


class FilledBatches(nn.Module):
    """An encoder whose embeddings on the CPU do not depend on the number of threads.

    A process with one thread computes 1x1 convolutions of fewer than 16 rows by another algorithm than one with several
    (ATen, `ConvParams::use_mkldnn`), and two processes have half the threads each of one. So smaller batches are filled
    up to 16 rows; otherwise results would differ in the last digits between one process and several.

    Args:
        encoder: Waveform (batch, time) -> embedding (batch, dim), row by row.
    """

    def __init__(self, encoder: nn.Module):
        super().__init__()
        self.encoder = encoder

    def forward(self, waveform: Tensor) -> Tensor:
        """Embeds waveforms (batch, time) as (batch, dim)."""
        missing = LEAST_ROWS - len(waveform)
        if missing <= 0 or waveform.device.type != "cpu":
            return self.encoder(waveform)
        return self.encoder(torch.cat([waveform, waveform[-1:].expand(missing, -1)]))[: len(waveform)]


def at_hand(accelerator: str) -> str:
    """The accelerator that `auto` stands for here; it decides the last digits of what is computed."""
    if accelerator != "auto":
        return accelerator
    return "cuda" if torch.cuda.is_available() else "cpu"


def launch(accelerator: str, devices: int | str, num_nodes: int) -> Fabric:
    """Starts one process per device; each runs the whole program again.

    Args:
        accelerator: cpu, cuda, or auto: CUDA where it is at hand.
        devices: Processes per node, or auto.
        num_nodes: Machines.

    Raises:
        ValueError: If the accelerator is not there.
    """
    keep_freed_memory()
    accelerator = at_hand(accelerator)
    alone = devices == 1 and num_nodes == 1
    strategy = "auto" if alone else DDPStrategy(timeout=LONGEST_WAIT)
    try:
        fabric = Fabric(accelerator=accelerator, strategy=strategy, devices=devices, num_nodes=num_nodes)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"accelerator {accelerator!r} with devices {devices!r} cannot be used: {error}") from error
    fabric.launch()
    return fabric


def keep_freed_memory() -> None:
    """Lets the allocator of glibc keep what a network frees, rather than return it to the system and fetch it again.

    Every layer of a forward frees its input; fetching such blocks anew cost 30 % of a forward of CAM++ on a CPU
    (`benchmarks/bench_memory.py`). Other C libraries, and allocators that replace glibc's, stay as they are.
    """
    allocator = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if allocator is not None:
        for option, value in MALLOC_OPTIONS.items():
            allocator(option, value)


@contextmanager
def stop_requests() -> Iterator[Callable[[], bool]]:
    """Makes SIGTERM and SIGINT (Ctrl-C) a request to stop after the task at hand; the second one stops at once.

    A signal that is ignored, as a shell makes background jobs ignore Ctrl-C, is ignored still.

    Yields:
        Whether to stop. Outside the main thread, where signals do not arrive, never.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    asked: list[int] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    before = {number: handler for number, handler in before.items() if handler != signal.SIG_IGN}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def ask(number: int, _frame: object) -> None:
        asked.append(number)
        restore()

    for number in before:
        signal.signal(number, ask)
    try:
        yield lambda: bool(asked)
    finally:
        restore()


def computed_on(fabric: Fabric) -> dict[str, str | int]:
    """What the speed of a job depends on beside its settings, for summaries: device, processes, and threads of each."""
    threads = torch.get_num_threads()
    return {"device": device_name(fabric.device), "processes": fabric.world_size, "threads": threads}
