"""How far a job is: a bar for who watches, lines of JSON for what collects logs, a share for who runs several jobs."""

import json
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from typing import Any, Literal, Self

import torch
from lightning.fabric import Fabric
from tqdm import tqdm

from voxcert.rows import Row

LogFormat = Literal["bar", "json"]
EVERY = 10.0
"""Seconds between two lines, at least."""
NOTE_SHARE = 100.0
"""Notes take one second in so many, at most: the more rows there are, the longer one takes."""


Listener = Callable[[float], None]
"""Is told which share of a job is done."""

_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Lets a listener hear how far the jobs in this block have come, so that one bar can tell of them all."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def tell(share: float) -> None:
    """Says which share of a job is done, to whoever listens."""
    if (listener := _listener.get()) is not None:
        listener(share)


class Progress:
    """Of one process: the first one shows a bar, or every one writes lines of JSON.

    A line has `time` (ISO 8601), `event` (what is done), `rank`, `device`, `done` and `total` (tasks of all processes),
    and of this process `rows_per_second`, `forwards_per_second`, `memory_bytes` (its largest so far),
    `device_memory_bytes` (likewise; of a GPU), `load` (of the machine, over a minute), and `eta_seconds`: how long the
    rest takes if all goes on as so far.

    Args:
        log_format: `bar` or `json`.
        verb: What is being done.
        unit: What a task is about.
        done: Tasks that were finished before.
        total: All tasks.
        fabric: The processes.
    """

    def __init__(self, log_format: LogFormat, verb: str, unit: str, done: int, total: int, fabric: Fabric):
        self.verb, self.total, self.fabric = verb, total, fabric
        self._before = self._done = done
        self._rows = self._forwards = 0
        self._start, self._last, self._next_note = time.monotonic(), -EVERY, 0.0
        self._json = log_format == "json"
        hidden = self._json or not fabric.is_global_zero
        leave = None  # not below the bar of several jobs
        self._bar = tqdm(desc=verb, initial=done, total=total, unit=unit, leave=leave, disable=hidden)

    def note(self, text: Callable[[], str]) -> None:
        """Shows a note beside the bar, if there is one; seldom if it takes long to say."""
        start = time.monotonic()
        if self._bar.disable or start < self._next_note:
            return
        self._bar.set_postfix_str(text())
        now = time.monotonic()
        self._next_note = now + NOTE_SHARE * (now - start)

    def advance(self, done: int, rows: Sequence[Row]) -> None:
        """Reports that all processes together took `done` tasks, of which this one made rows."""
        self._bar.update(done - self._done)
        self._done = done
        tell(done / self.total)
        self._rows += len(rows)
        self._forwards += max((getattr(row, "num_forwards", 0) for row in rows), default=0)  # one pass for all rows
        now = time.monotonic()
        if self._json and (now - self._last >= EVERY or done >= self.total):
            self._last = now
            print(json.dumps(self._line(now - self._start)), file=sys.stderr, flush=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.close()

    def _line(self, seconds: float) -> dict[str, Any]:
        rate = (self._done - self._before) / seconds
        device = self.fabric.device
        return {
            "time": datetime.now().astimezone().isoformat(timespec="seconds"),
            "event": self.verb,
            "rank": self.fabric.global_rank,
            "device": str(device),
            "done": self._done,
            "total": self.total,
            "rows_per_second": self._rows / seconds,
            "forwards_per_second": self._forwards / seconds,
            "eta_seconds": (self.total - self._done) / rate,
            "memory_bytes": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
            "device_memory_bytes": torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None,
            "load": os.getloadavg()[0],
        }
