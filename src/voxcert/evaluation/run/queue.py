"""Hands the tasks of a job to its processes one by one, so that a slow process holds nobody up.

Self-scheduling (Tang and Yew 1986) over the key-value store that torch.distributed starts its processes with: a counter
says which task is next. Every process beats while it lives, so that nobody waits for one that is dead.
"""

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch.distributed as dist
from lightning.fabric import Fabric

BEAT = 5.0
"""Seconds between two signs of life."""
SILENCE = 120.0
"""Seconds without one after which a process is taken for dead."""
POLL = 0.05
"""Seconds between two looks at whether the others are done."""
GO_ON = "what is done is kept, and the same command goes on from there"


class Queue:
    """The tasks 0 to n - 1, each given to one process of a job.

    All processes must make their queue of the same tasks. Use it as a context: inside, the process beats.

    Args:
        name: Of what is shared out; no two queues of a program have the same.
        num_tasks: n.
        rank: Of this process.
        world_size: Number of processes.
        store: What all processes share: `shared_store`.
    """

    def __init__(self, name: str, num_tasks: int, rank: int, world_size: int, store: Any):
        self.num_tasks, self.rank, self.world_size = num_tasks, rank, world_size
        self._store = dist.PrefixStore(f"voxcert {name}", store)
        self._ended = threading.Event()

    def __enter__(self) -> "Queue":
        if self.world_size > 1:
            threading.Thread(target=self._beat, daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._ended.set()

    def __iter__(self) -> Iterator[int]:
        """Takes one task after another, until there are none or a process asked all to stop.

        Raises:
            ConnectionError: If the process that keeps the store is gone.
        """
        while not self.stopped and (task := self._add("next", 1) - 1) < self.num_tasks:
            yield task

    def stop(self) -> None:
        """Asks all processes to stop after the task at hand."""
        self._add("stop", 1)

    @property
    def stopped(self) -> bool:
        """Whether a process asked all to stop."""
        return self._add("stop", 0) > 0

    def wait(self, asked_to_stop: Callable[[], bool] = lambda: False) -> bool:
        """Says that this process is done, and in the first one, which keeps the store, waits for all others.

        Args:
            asked_to_stop: Whether the others are to stop meanwhile.

        Returns:
            Whether a process asked all to stop.

        Raises:
            ConnectionError: If one of them was silent for `SILENCE` seconds; names it.
        """
        stopped = self.stopped
        self._add(f"done {self.rank}", 1)
        if self.rank != 0:
            return stopped  # the first process may be gone from now on, and the store with it
        heard = {rank: (-1, time.monotonic()) for rank in range(1, self.world_size)}
        while heard:
            if asked_to_stop():
                self.stop()
            for rank, (beats, since) in list(heard.items()):
                if self._add(f"done {rank}", 0):
                    del heard[rank]
                elif (now := self._add(f"beats {rank}", 0)) != beats:
                    heard[rank] = (now, time.monotonic())
                elif time.monotonic() - since > SILENCE:
                    raise ConnectionError(
                        f"process {rank} of {self.world_size} was not heard of for {SILENCE:g} s; {GO_ON}"
                    )
            time.sleep(POLL if heard else 0)
        return self.stopped

    def _beat(self) -> None:
        while True:
            try:
                self._store.add(f"beats {self.rank}", 1)
            except RuntimeError:  # the store went with the first process, which the next task will find out
                return
            if self._ended.wait(BEAT):
                return

    def _add(self, key: str, value: int) -> int:
        try:
            return self._store.add(key, value)
        except RuntimeError as error:
            raise ConnectionError(f"the first process, which shares out the tasks, is gone; {GO_ON}") from error


def shared_store(fabric: Fabric) -> Any:
    """The key-value store of a job's processes; a process that is alone has one to itself."""
    return dist.HashStore() if fabric.world_size == 1 else dist.distributed_c10d._get_default_store()
