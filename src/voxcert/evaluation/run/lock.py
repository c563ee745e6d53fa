"""One job at a time in a folder: two of the same command would lose each other's rows without a word.

The lock is the operating system's (`filelock`), so it ends with the process that holds it, however that ends.
"""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout
from lightning.fabric.utilities.rank_zero import rank_zero_only

from voxcert.data.paths import shown
from voxcert.rows import replace_file

LOCK, HOLDER = ".lock", ".running"


@contextmanager
def locked(folder: str | Path) -> Iterator[None]:
    """Keeps other jobs out of a folder for as long as this one works there.

    Only the first process of a job asks for the lock; those that it starts are its own.

    Args:
        folder: Of the run; made if missing.

    Raises:
        ValueError: If another job works there (the message names it), or there can be no such folder.
    """
    if not is_first_process():
        yield
        return
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ValueError(f"output_dir must be a folder that can be made, got {shown(folder)}: {reason}") from error
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise ValueError(
            f"output_dir must not be in use, got {folder}, where {_holder(folder)} writes: wait for it, or choose "
            "another folder"
        ) from None
    now = datetime.now().astimezone().isoformat(timespec="seconds")
    replace_file(folder / HOLDER, f"process {os.getpid()} on {socket.gethostname()} (since {now})")
    try:
        yield
    finally:
        (folder / HOLDER).unlink(missing_ok=True)
        lock.release()


def is_first_process() -> bool:
    """As the environment says, which launchers prepare: the job may not have started its processes yet."""
    node = os.environ.get("NODE_RANK", os.environ.get("GROUP_RANK", "0"))
    return rank_zero_only.rank == 0 and int(node) == 0


def _holder(folder: Path) -> str:
    path = folder / HOLDER
    return path.read_text() if path.is_file() else "another process"
