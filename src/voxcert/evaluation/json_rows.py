"""Rows of a job as lines of JSON: how a dataclass is written and read, and what a killed job left behind.

They go down through `voxcert.smoothing.rows.RowWriter`, one write for all rows that belong together.
"""

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, fields
from pathlib import Path
from typing import Self, TypeVar


class JsonRow:
    """A frozen dataclass that is one line of JSON; numbers must be finite."""

    def to_json(self) -> str:
        """One line of JSON; ValueError if a number is NaN or infinite."""
        return json.dumps(asdict(self), allow_nan=False, ensure_ascii=False)

    @classmethod
    def from_json(cls, line: str) -> Self:
        """The row in a line written by `to_json`; ValueError if the keys are not those of a row."""
        values, names = json.loads(line), {field.name for field in fields(cls)}
        if not isinstance(values, dict) or values.keys() != names:
            raise ValueError(f"a row must have the keys {sorted(names)}, got {sorted(values)}")
        return cls(**values)


Row = TypeVar("Row", bound=JsonRow)


def read_json_rows(path: str | Path, kind: type[Row]) -> list[Row]:
    """All complete rows of a file; none where there is no file. A torn last line is left out.

    Raises:
        ValueError: If another line is no such row; names file and line.
    """
    path = Path(path)
    if not path.is_file():
        return []
    *lines, _torn = path.read_bytes().split(b"\n")
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            rows.append(kind.from_json(line.decode()))
        except (ValueError, TypeError) as error:
            raise ValueError(f"{path}, line {number}: no {kind.__name__} ({error})") from error
    return rows


def rewrite_json_rows(path: str | Path, rows: Iterable[JsonRow]) -> None:
    """Replaces a file of rows by these or, if killed meanwhile, leaves it as it was."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("w", encoding="utf-8") as file:
        file.writelines(row.to_json() + "\n" for row in rows)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
