"""Any corpus as a table of utterances: a CSV file, JSON lines, or a table of NeMo or speechbrain.

Rows are checked one by one, and a message names the line.
"""

import csv
import io
import json
import math
import os
from collections.abc import Iterable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

from voxcert.data.corpus import Corpus, Refused
from voxcert.data.dialects import translated
from voxcert.data.files import read_text, write_whole
from voxcert.data.names import as_read, as_speaker
from voxcert.data.paths import is_file, is_folder, shown
from voxcert.data.utterance import Utterance

COLUMNS = tuple(column.name for column in fields(Utterance) if column.name != "origin")

Row = dict[str, Any]


class Manifest(Corpus):
    """A CSV file (with a header) or JSON lines, by the suffix .csv, .jsonl or .json.

    `path` (relative to the manifest, or absolute) and `speaker` are required; `start` and `end` in seconds, `channel`
    (0 is the first; the average of all without one), `text`, `part` and `id` may be left out or empty. Without an id,
    it is the path as written, with "@START-END" for a stretch. Blanks around names and values do not count. Unknown
    columns are refused, because a misspelt one would be lost.

    The tables of NeMo (`audio_filepath`, `offset`, `duration`, and `speaker` or `label`) and of speechbrain (`ID`,
    `wav`, `spk_id`, `start` and `stop` in samples; CSV or one JSON object) are read as they are. Another column there
    that would say what to read of a file, such as `end` or `channel`, is refused.

    Args:
        path: The manifest.
        audio_root: Folder that relative paths start from, and what speechbrain's {data_root} stands for; that of the
            manifest when null.
    """

    def __init__(self, path: str, audio_root: str | None = None):
        self.path, self.audio_root = path, audio_root

    def scan(self) -> Iterator[Utterance | Refused]:
        """Read the rows.

        A row is refused, by its line, that has a missing or unknown column, a speaker that is no name, a time that is
        no number or out of order, or a file that is not there.

        Raises:
            ValueError: The manifest is missing, of another kind or encoding, or not a table.
        """
        if not is_file(self.path):
            raise ValueError(f"path must be an existing manifest, got {shown(self.path)!r}")
        path = Path(self.path)
        home = path.parent if self.audio_root is None else Path(self.audio_root)
        for number, row in _rows(path):
            place = f"{self.path}:{number}"
            try:
                if not isinstance(row, dict):
                    raise ValueError(f"a line must be a JSON object ({row})")
                yield _utterance(translated(row, home), home, place)
            except ValueError as error:
                yield Refused(f"{place}: {error}")


def write_manifest(utterances: Iterable[Utterance], path: str | Path) -> None:
    """Write utterances so that `Manifest(path)` reads them back.

    Args:
        utterances: What to write.
        path: CSV (.csv) or JSON lines (.jsonl). Audio paths are written relative to its folder.

    Raises:
        ValueError: The suffix is another one, or the folder is not there.
    """
    path = Path(path)
    check_place(path)
    home = path.parent.resolve()
    # Only the folder is resolved: a link to an audio file may well have a name that its target has not.
    rows = [
        {name: getattr(one, name) for name in COLUMNS}
        | {"path": Path(os.path.relpath(os.path.abspath(one.path), home)).as_posix()}
        for one in utterances
    ]
    if _suffix(path) != ".csv":
        write_whole(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
        return
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS)
    writer.writeheader()
    writer.writerows(rows)
    write_whole(path, text.getvalue())


def check_place(path: str | Path, read: str | Path | None = None) -> None:
    """Check that a manifest may be written there, before the work for it is done.

    Args:
        path: Of the manifest.
        read: What its utterances come from.

    Raises:
        ValueError: The suffix is another one, the folder is not there, or it would replace what is read.
    """
    _suffix(Path(path))
    if read is not None and is_file(path) and is_file(read) and Path(path).samefile(read):
        raise ValueError(f"a manifest must be written to another file than the one that is read, got {shown(path)!r}")
    if not is_folder(Path(path).parent):
        raise ValueError(f"a manifest must lie in an existing folder, got {shown(path)!r}")


def _rows(path: Path) -> Iterator[tuple[int, Row | str]]:
    """Line numbers and rows; values of a CSV file are texts. A row that cannot be read is the reason."""
    suffix = _suffix(path)
    text = read_text(path)
    if suffix == ".csv":
        yield from _csv_rows(path, text)
        return
    if suffix == ".json":
        whole = _json_object(text)
        if isinstance(whole, dict) and whole and all(isinstance(value, dict) for value in whole.values()):
            yield from ((number, {"ID": name} | row) for number, (name, row) in enumerate(whole.items(), start=1))
            return
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            row = _json_object(line)
            yield number, {as_read(name): value for name, value in row.items()} if isinstance(row, dict) else row


def _csv_rows(path: Path, text: str) -> Iterator[tuple[int, Row | str]]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    header: list[str] | None = None
    try:
        for values in reader:
            values = [value.strip() for value in values]
            if not any(values):
                continue
            if header is None:
                header = _header(path, reader.line_num, values)
            elif len(values) != len(header):
                raise ValueError(
                    f"{path}:{reader.line_num}: a row must have {len(header)} values, one for each column, "
                    f"got {len(values)}"
                )
            else:
                yield reader.line_num, dict(zip(header, values, strict=True))
    except csv.Error as error:
        raise ValueError(f"{path}:{reader.line_num}: must be CSV, with quotes that are closed, got: {error}") from error


def _header(path: Path, line: int, values: list[str]) -> list[str]:
    header = [as_read(value) for value in values]
    repeated = sorted({name for name in header if header.count(name) > 1})
    if repeated:
        raise ValueError(f"{path}:{line}: a column may be given once, got {repeated} more often")
    if len(header) == 1 and any(mark in header[0] for mark in ";\t|"):
        raise ValueError(f"{path}:{line}: columns must be separated by commas, got {header[0]!r}")
    return header


def _json_object(text: str) -> Row | str:
    """An object whose names are all different, or why there is none."""
    try:
        return dict(json.loads(text, object_pairs_hook=_once))
    except (TypeError, ValueError, RecursionError) as error:
        return str(error)


def _once(pairs: list[tuple[str, Any]]) -> Row:
    names = [as_read(name) for name, _ in pairs]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f"a column may be given once, got {repeated} more often")
    return dict(pairs)


def _utterance(row: Row, home: Path, origin: str) -> Utterance:
    unknown = [name for name in row if name not in COLUMNS]
    if unknown:
        raise ValueError(f"columns must be among {list(COLUMNS)}, got {unknown}")
    given = {name: value for name, value in row.items() if value is not None and value != ""}
    for name in ("path", "speaker"):
        if name not in given:
            raise ValueError(f"column {name!r} is required, got {sorted(given)}")
    speaker = as_speaker(given["speaker"])
    start, end = (_seconds(name, given[name]) if name in given else None for name in ("start", "end"))
    start = start or 0.0
    if not 0 <= start < (math.inf if end is None else end) or end == math.inf:
        raise ValueError(f"start and end must satisfy 0 <= start < end, got start {start} and end {end}")
    texts = {name: _text(name, given[name]) for name in ("path", "id", "text", "part") if name in given}
    path = home / texts["path"]
    if not is_file(path):
        raise ValueError(f"path must be an existing file, got {shown(path)}")
    stretch = f"@{start:g}-{'' if end is None else f'{end:g}'}" if start or end is not None else ""
    channel = _channel(given["channel"]) if "channel" in given else None
    name = texts.get("id", f"{texts['path']}{stretch}{'' if channel is None else f'#{channel}'}")
    text, part = texts.get("text", ""), as_read(texts.get("part", ""))
    return Utterance(name, path, speaker, start, end, text, part, channel, origin)


def _text(name: str, value: object) -> str:
    if isinstance(value, bool | float) or not isinstance(value, str | int):
        raise ValueError(f"{name} must be a text, got {value!r}")
    text = str(value).strip()
    if not text and name in ("path", "id"):
        raise ValueError(f"{name} must not be blank, got {value!r}")
    return text


def _seconds(name: str, value: object) -> float:
    try:
        if isinstance(value, bool):
            raise TypeError
        seconds = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{name} must be a number of seconds, got {value!r}") from None
    return seconds


def _channel(value: object) -> int:
    if isinstance(value, bool) or not str(value).strip().isdecimal():
        raise ValueError(f"channel must be 0 (the first), 1, ..., got {value!r}")
    return int(str(value))


def _suffix(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix not in (".csv", ".jsonl", ".json"):
        raise ValueError(f"a manifest must end in .csv, .jsonl or .json, got {path.name!r}")
    return suffix
