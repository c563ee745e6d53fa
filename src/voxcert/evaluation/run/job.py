"""The skeleton of every job: plan tasks, skip what is finished, share out the rest, write rows, wait for all, merge.

A job may be killed at any moment and is continued by the same call, whatever the number of processes was: what is
finished is what has all its rows, and seeds depend on what they are for.
"""

import hashlib
import itertools
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from lightning.fabric import Fabric
from torch import nn

from voxcert.columns import Columns
from voxcert.data.corpus import Utterance
from voxcert.data.identity import Planned, write_plan
from voxcert.encoders.loading import encoder_hash
from voxcert.evaluation.run.claim import claim
from voxcert.evaluation.run.folder import PLAN, ROWS
from voxcert.evaluation.run.lock import locked
from voxcert.evaluation.run.processes import launch, stop_requests
from voxcert.evaluation.run.progress import LogFormat, Progress
from voxcert.evaluation.run.queue import GO_ON, Queue, shared_store
from voxcert.evaluation.run.speed import Precision, float32_products
from voxcert.evaluation.run.tasks import About, Kind, Task, merge_rows, rows_path, unfinished
from voxcert.rows import RowWriter, iterate_rows


class SpeakerData(Protocol):
    """What jobs need of a data module."""

    def enrollment_dataloader(self, stage: str) -> Iterable[dict[str, Any]]:
        """Batches {"waveform": (batch, time), "speaker": list[str]}."""

    def tested(self, stage: str) -> Sequence[Utterance]:
        """What the items are about, in their order, without reading any audio."""

    def plan(self, stage: str, texts: bool = False) -> Sequence[Planned]:
        """What enrols and what is tested: the identity of the data, with `texts` for a job that reads what is said."""

    def items(self, stage: str) -> Sequence[dict[str, Any]]:
        """Items {"utterance", "speaker", "waveform": (time,)}, or "error" instead of the waveform."""


@dataclass(frozen=True)
class Provenance:
    """What made the results of a job.

    Attributes:
        encoder_id: Hash of the encoder; stands in every row, and a continued run must have the same. Without one, jobs
            take its `encoder_hash`.
        origin: What made encoder and data, as plain values: kept in config.yaml, and compared on a restart.
        command: The command line, for the summary.
    """

    encoder_id: str = ""
    origin: dict[str, Any] = field(default_factory=dict)
    command: str = ""

    def of(self, encoder: nn.Module) -> "Provenance":
        """The same with a name for the encoder, so that no run goes on with another one.

        Raises:
            ValueError: If the encoder is no module, such as a function.
        """
        if not isinstance(encoder, nn.Module):
            raise ValueError(
                f"encoder must be a torch.nn.Module (a function becomes one as its forward), got {encoder!r}"
            )
        return self if self.encoder_id else replace(self, encoder_id=encoder_hash(encoder))

    def config(self, settings: Any) -> dict[str, Any]:
        """What config.yaml holds of a job with these settings, a dataclass: what made encoder and data comes first."""
        return {**self.origin, "checkpoint_hash": self.encoder_id, **asdict(settings)}


_QUEUES = itertools.count()
"""All processes run one program, and so number their queues alike."""

UNKNOWN = Provenance()
"""Of results whose origin nobody noted."""


@contextmanager
def started(
    folder: str | Path,
    config: dict[str, Any],
    plan: Sequence[Planned] | None,
    accelerator: str,
    devices: int | str = 1,
    num_nodes: int = 1,
    precision: Precision = 32,
    may_differ: Collection[str] = (),
) -> Iterator[Fabric]:
    """Starts a job: its folder is this job's alone and has no result of other settings or data, and its processes run.

    Args:
        folder: Of the run.
        config: Its settings, for `check_settings`.
        plan: The utterances that it is about, kept beside its rows; None for a job that may be given more data later.
        accelerator: See `launch`.
        devices: See `launch`.
        num_nodes: See `launch`.
        precision: See `float32_products`.
        may_differ: See `check_settings`.

    Raises:
        ValueError: If another job works there, the folder holds results of other settings or data (the message names
            them), the accelerator is not there, or processes have other encoders.
        KeyboardInterrupt: On Ctrl-C where no task is at hand; says that the job can go on.
    """
    try:
        with locked(folder):
            claim(folder, config, plan, may_differ)  # before other processes are started
            fabric = launch(accelerator, devices, num_nodes)
            _check_encoder(config.get("checkpoint_hash"), fabric)
            if plan is not None and fabric.is_global_zero:
                write_plan(plan, Path(folder) / PLAN)
            with float32_products(precision):
                yield fabric
    except KeyboardInterrupt:
        raise KeyboardInterrupt(GO_ON) from None


def do_tasks(
    tasks: Sequence[Task[About]],
    do: Callable[[About], Sequence[Kind]],
    kind: type[Kind],
    folder: str | Path,
    fabric: Fabric,
    *,
    verb: str,
    unit: str,
    note: Callable[[About, Sequence[Kind]], str] | None = None,
    counts: Callable[[Kind], bool] = lambda row: True,
    log_format: LogFormat = "bar",
) -> Columns[Kind]:
    """Does the tasks that are not finished yet, each in the process that is free next, and writes its rows at once.

    Args:
        tasks: The plan, the same in all processes.
        do: Makes the rows of a task, with the keys that the task names.
        kind: Class of the rows.
        folder: Of the run.
        fabric: The processes.
        verb: What is being done, for the progress bar, such as "certifying".
        unit: What a task is about, for the progress bar.
        note: What the progress bar says beside a task, from what it is about and the rows so far.
        counts: Whether an old row is a result; a task with one that is not is done again.
        log_format: See `Progress`.

    Returns:
        In the first process the rows of all tasks, in the plan's order; in the others none.

    Raises:
        ConnectionError: If a process is gone, and so tasks that it took are not done.
        RuntimeError: If a task has no rows in the end.
        SystemExit: With status 0, after the tasks at hand, when SIGTERM or SIGINT asked one of the processes to stop.
    """
    rows = merge_rows(folder, kind, tasks, counts) if fabric.is_global_zero else Columns(kind)
    fabric.barrier("what a killed run left behind is merged")
    todo = unfinished(tasks, (row.key for row in rows or iterate_rows(Path(folder) / ROWS, kind) if counts(row)))
    fabric.barrier("all know what is finished")  # before a new row is: the numbers of tasks are to mean the same to all
    before = len(tasks) - len(todo)
    queue = Queue(f"{verb} {next(_QUEUES)}", len(todo), fabric.global_rank, fabric.world_size, shared_store(fabric))
    with (
        RowWriter(rows_path(folder, fabric.global_rank)) as writer,
        Progress(log_format, verb, unit, before, len(tasks), fabric) as progress,
        stop_requests() as asked_to_stop,
        queue,
    ):
        for index in queue:
            task = todo[index]
            if note is not None:
                progress.note(partial(note, task.about, rows))
            new = do(task.about)
            writer.write(new)
            rows.extend(new if fabric.is_global_zero else [])
            progress.advance(before + index + 1, new)
            if asked_to_stop():
                queue.stop()
        stopped = queue.wait(asked_to_stop)
    if stopped:
        if fabric.is_global_zero:
            message = f"stopped; what is done is in {folder}, and the same command goes on from there"
            print(message, file=sys.stderr)
        raise SystemExit(0)
    if not fabric.is_global_zero:
        return Columns(kind)
    del rows  # which would be in memory twice
    rows = merge_rows(folder, kind, tasks, counts=lambda row: True)
    if len(rows) < sum(len(task.keys) for task in tasks):
        raise RuntimeError(f"{folder} lacks rows of some of {len(tasks)} planned tasks")
    return rows


def _check_encoder(own: str | None, fabric: Fabric) -> None:
    """Refuses processes with other weights than the first one's, as random ones without a seed are."""
    if own != (first := fabric.broadcast(own)):
        raise ValueError(f"encoder must be one and the same in all processes, got {first} in the first and {own} here")


def seed_of(*parts: Any) -> int:
    """A seed that depends on these alone; 32 bits are all that a CPU generator reads."""
    return int.from_bytes(hashlib.sha256("\n".join(map(str, parts)).encode()).digest()[:4], "big")
