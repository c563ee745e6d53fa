"""Who was enrolled while a service ran, in an SQLite file: names and prototypes, and nothing that was said.

One process has the file at a time: another one would answer for the speakers whom it read when it started.
"""

import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor

TABLES = """
CREATE TABLE IF NOT EXISTS system (name TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS speakers (name TEXT PRIMARY KEY, prototype BLOB NOT NULL);
"""
MEMORY = ":memory:"
"""SQLite's name of a database that ends with its process."""


class EnrolledSpeakers:
    """Names and prototypes in an SQLite file; safe to use from several threads.

    Args:
        path: The file, which is made if it is missing; `:memory:` keeps nothing on the disk.
        system: Whose prototypes they are, such as an encoder's hash; that of the file is compared.

    Raises:
        ValueError: If the file is of another system, of another process, or no such file.
    """

    def __init__(self, path: str | Path, system: str):
        self._lock = threading.Lock()
        try:
            if str(path) != MEMORY:
                Path(path).touch(mode=0o600)  # voices are the owner's to read; what is there keeps its rights
            self._database = sqlite3.connect(path, timeout=0, check_same_thread=False)
            self._database.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._database.executescript(f"BEGIN IMMEDIATE; {TABLES} COMMIT;")
            (known,) = self._database.execute("SELECT name FROM system").fetchone() or (None,)
            with self._database:
                if known is None:
                    self._database.execute("INSERT INTO system VALUES (?)", (system,))
        except (OSError, sqlite3.Error) as error:
            raise ValueError(f"{path} must be a database of speakers that no other process uses: {error}") from error
        if known not in (None, system):
            self._database.close()
            raise ValueError(f"{path} must hold speakers of {system}, got speakers of {known}")

    def read(self) -> dict[str, Tensor]:
        """Name -> prototype (dim,), in the order of enrolment."""
        with self._lock:
            rows = self._database.execute("SELECT name, prototype FROM speakers ORDER BY rowid").fetchall()
        return {name: torch.from_numpy(np.frombuffer(blob, np.float32).copy()) for name, blob in rows}

    def write(self, name: str, prototype: Tensor) -> None:
        """Keeps a speaker, or replaces one; on the disk when this returns."""
        blob = prototype.detach().cpu().float().numpy().tobytes()
        with self._lock, self._database, closing(self._database.cursor()) as cursor:
            cursor.execute("INSERT OR REPLACE INTO speakers VALUES (?, ?)", (name, blob))

    def close(self) -> None:
        """Lets another process have the file."""
        with self._lock:
            self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
