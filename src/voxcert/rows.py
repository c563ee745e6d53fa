"""Rows of a job as lines of JSON: frozen dataclasses in files that survive a job being killed at any moment.

They join measuring and plotting, as the flat files of Cohen et al. 2019 do, so figures never need an accelerator.
"""

import errno
import json
import lzma
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import MISSING, asdict, fields
from functools import cache
from pathlib import Path
from typing import BinaryIO, Self, TypeVar

BLOCK = 2**16
"""Bytes that are read at once in search of a line break."""


class Row(ABC):
    """A frozen dataclass that is one line of JSON; numbers must be finite."""

    @property
    @abstractmethod
    def key(self) -> tuple[Hashable, ...]:
        """What the row is about: no two rows of a job have the same."""

    def to_json(self) -> str:
        """One line of JSON without a line break.

        Raises:
            ValueError: If a number is NaN or infinite, which JSON cannot hold.
        """
        return json.dumps(vars(self), default=asdict, allow_nan=False, ensure_ascii=False)

    @classmethod
    def from_json(cls, line: str) -> Self:
        """The row in a line written by `to_json`, perhaps before the last fields were there: they have their defaults.

        Raises:
            ValueError: If the line is no JSON object or its keys are not those of a row.
        """
        values = json.loads(line)
        if not isinstance(values, dict):
            raise ValueError(f"a row must be a JSON object, got {type(values).__name__}")
        needed, names = _names(cls)
        if not needed <= values.keys() <= names:
            raise ValueError(f"a row must have the keys {sorted(names)}, got {sorted(values)}")
        for name, value in values.items():
            if type(value) is str:
                values[name] = sys.intern(value)  # a million rows repeat speakers, rules and reasons
        return cls(**values)


@cache
def _names(kind: type[Row]) -> tuple[set[str], set[str]]:
    """The fields without a default, and all of them."""
    needed = {one.name for one in fields(kind) if one.default is MISSING and one.default_factory is MISSING}
    return needed, {field.name for field in fields(kind)}


Kind = TypeVar("Kind", bound=Row)


class RowWriter:
    """Appends rows to a file, forced to the disk; rows that belong together go down in one write.

    A torn last line, left by a job that was killed while writing, is cut off when the file is opened.

    Args:
        path: File to append to; created, with its folder, if missing.
    """

    def __init__(self, path: str | Path):
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        _cut_torn_line(path)
        self._path, self._file = path, path.open("ab", buffering=0)

    def write(self, rows: Iterable[Row]) -> None:
        """Appends rows that belong together, such as all those of an utterance.

        Raises:
            OSError: If the disk is full, or the file is not where it was any more; names the file.
        """
        data = memoryview("".join(row.to_json() + "\n" for row in rows).encode())
        with _named(self._path):
            if not os.path.samestat(os.stat(self._path), os.fstat(self._file.fileno())):
                raise FileNotFoundError(errno.ENOENT, "this is another file than before", str(self._path))
            while data:  # an unbuffered write may be short
                data = data[self._file.write(data) :]
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def read_rows(path: str | Path, kind: type[Kind]) -> list[Kind]:
    """All complete rows of a file; none where there is no file. A torn last line is left out.

    Args:
        path: The file; one that ends in .xz is compressed, and never appended to.
        kind: Class of the rows.

    Raises:
        ValueError: If another line is no such row, or a compressed file is damaged or ends early; names the file and
            the line.
    """
    return list(iterate_rows(path, kind))


def iterate_rows(path: str | Path, kind: type[Kind]) -> Iterator[Kind]:
    """The rows of a file one after the other, in the memory of one; arguments and errors are those of `read_rows`."""
    return (row for row, _ in iterate_lines(path, kind))


def iterate_lines(path: str | Path, kind: type[Kind]) -> Iterator[tuple[Kind, bytes]]:
    """As `iterate_rows`, each row with its line."""
    path = Path(path)
    if not path.is_file():
        return
    number = 0
    try:
        with lzma.open(path) if path.suffix == ".xz" else path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if not line.endswith(b"\n"):
                    return  # torn
                try:
                    row = kind.from_json(line.decode())
                except (ValueError, TypeError) as error:
                    raise ValueError(f"{path}, line {number}: no {kind.__name__} ({error})") from error
                yield row, line
    except (EOFError, lzma.LZMAError) as error:
        raise ValueError(f"{path}: damaged after line {number} ({error})") from error


def replace_rows(path: str | Path, rows: Iterable[Row]) -> None:
    """Replaces a file of rows by these or, if killed meanwhile, leaves it as it was."""
    replace_lines(path, ((row.to_json() + "\n").encode() for row in rows))


def replace_file(path: str | Path, content: str | bytes) -> None:
    """Writes a whole file, with its folder, or, if killed meanwhile, leaves the old one.

    Raises:
        OSError: If it cannot be written, on a full disk for example; names the file. The old one is left.
    """
    replace_lines(path, [content.encode() if isinstance(content, str) else content])


def replace_lines(path: str | Path, lines: Iterable[bytes]) -> None:
    """As `replace_file`, in the memory of one of the lines, each of which brings its line break."""
    with replacing(path) as file:
        file.writelines(lines)


@contextmanager
def replacing(path: str | Path) -> Iterator[BinaryIO]:
    """A file to write to that takes the place of an old one in the end; as `replace_file` otherwise."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with _named(path), temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Names the file in errors of the system, which does not where it writes to an open file."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


def _cut_torn_line(path: Path) -> None:
    if not path.exists():
        return
    with path.open("rb+") as file:
        end = file.seek(0, os.SEEK_END)
        while end > 0:
            start = max(0, end - BLOCK)
            file.seek(start)
            if (found := file.read(end - start).rfind(b"\n")) >= 0:
                end = start + found + 1
                break
            end = start
        file.truncate(end)
