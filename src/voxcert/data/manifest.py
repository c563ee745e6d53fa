"""Any corpus as a table of utterances: a CSV file, or JSON lines."""

import csv
import json
import math
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict, fields
from pathlib import Path

from voxcert.data.corpus import Corpus, Utterance

COLUMNS = tuple(field.name for field in fields(Utterance))


class Manifest(Corpus):
    """A CSV file (with a header) or JSON lines, by the suffix .csv or .jsonl.

    `path` (relative to the manifest, or absolute) and `speaker` are required; `start` and `end` in seconds, `text`,
    `part` and `id` may be left out or empty. Without an id, it is the path as written, with "@START-END" for a
    stretch. Unknown columns are refused, because a misspelt one would be lost.

    Args:
        path: The manifest.
    """

    def __init__(self, path: str):
        self.path = path

    def scan(self) -> Iterator[Utterance]:
        """Read the rows.

        Raises:
            ValueError: The manifest is missing or of another kind, or a row has a missing or unknown column, a time
                that is no number or out of order, a file that is not there, or a stretch of audio that an earlier
                row lists (for another speaker or part, or again). The message names the line.
        """
        if not Path(self.path).is_file():
            raise ValueError(f"path must be an existing manifest, got {self.path!r}")
        lines: dict[tuple, int] = {}
        for number, row in _rows(Path(self.path)):
            try:
                utterance = _utterance(row, Path(self.path).parent)
                earlier = lines.setdefault((utterance.path, utterance.start, utterance.end), number)
                if earlier != number:
                    raise ValueError(f"a stretch of audio may be listed once, this one is on line {earlier} too")
            except ValueError as error:
                raise ValueError(f"{self.path}:{number}: {error}") from error
            yield utterance


def write_manifest(utterances: Iterable[Utterance], path: str | Path) -> None:
    """Write utterances so that `Manifest(path)` reads them back.

    Args:
        utterances: What to write.
        path: CSV (.csv) or JSON lines (.jsonl). Audio paths are written relative to its folder.

    Raises:
        ValueError: The suffix is another one.
    """
    path = Path(path)
    suffix = _suffix(path)
    home = path.parent.resolve()
    # Only the folder is resolved: a link to an audio file may well have a name that its target has not.
    rows = [
        asdict(one) | {"path": Path(os.path.relpath(os.path.abspath(one.path), home)).as_posix()} for one in utterances
    ]
    with path.open("w", encoding="utf-8", newline="") as file:
        if suffix == ".jsonl":
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        else:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(rows)


def _rows(path: Path) -> Iterator[tuple[int, dict]]:
    """Line numbers and rows; values of a CSV file are texts."""
    suffix = _suffix(path)
    with path.open(encoding="utf-8-sig", newline="") as file:
        if suffix == ".csv":
            reader = csv.DictReader(file)
            for row in reader:
                yield reader.line_num, row
            return
        for number, line in enumerate(file, start=1):
            if line.strip():
                try:
                    yield number, dict(json.loads(line))
                except (TypeError, ValueError) as error:
                    raise ValueError(f"{path}:{number}: a line must be a JSON object ({error})") from error


def _utterance(row: dict, home: Path) -> Utterance:
    unknown = [name for name in row if name not in COLUMNS]
    if unknown:
        raise ValueError(f"columns must be among {list(COLUMNS)}, got {unknown}")
    given = {name: value for name, value in row.items() if value not in (None, "")}
    for name in ("path", "speaker"):
        if name not in given:
            raise ValueError(f"column {name!r} is required, got {sorted(given)}")
    start, end = (_seconds(name, given[name]) if name in given else None for name in ("start", "end"))
    start = start or 0.0
    if not 0 <= start < (math.inf if end is None else end):
        raise ValueError(f"start and end must satisfy 0 <= start < end, got start {start} and end {end}")
    path = home / given["path"]
    if not path.is_file():
        raise ValueError(f"path must be an existing file, got {path}")
    stretch = f"@{start:g}-{'' if end is None else f'{end:g}'}" if start or end is not None else ""
    name = given.get("id", f"{given['path']}{stretch}")
    texts = {key: str(given.get(key, "")) for key in ("text", "part")}
    return Utterance(str(name), path, str(given["speaker"]), start, end, **texts)


def _seconds(name: str, value: str | float) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be a number of seconds, got {value!r}") from None


def _suffix(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix not in (".csv", ".jsonl"):
        raise ValueError(f"a manifest must end in .csv or .jsonl, got {path.name!r}")
    return suffix
