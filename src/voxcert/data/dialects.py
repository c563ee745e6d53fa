"""Rows of other toolkits' tables as rows of a manifest: NeMo's JSON lines, speechbrain's CSV and JSON.

Columns that say nothing of who speaks where are left out: in a table of another toolkit they are no misspelling. Those
that say when or on which channel, but are not this toolkit's, are refused, or another stretch would be read.
"""

from pathlib import Path
from typing import Any

import soundfile

Row = dict[str, Any]


def translated(row: Row, home: Path) -> Row:
    """A row as a manifest has it; one that is so already stays as it is.

    Args:
        row: Names and values.
        home: Folder that relative paths start from.

    Raises:
        ValueError: A value of a foreign row is not what that toolkit writes.
    """
    if "audio_filepath" in row:
        return _nemo(row)
    if "wav" in row:
        return _speechbrain(row, home)
    return row


def _nemo(row: Row) -> Row:
    """NeMo: `offset` and `duration` in seconds; the speaker is `speaker`, or `label` in speaker recognition."""
    _refuse(row, ("start", "stop", "end", "channel"), "NeMo's `offset` and `duration` (in seconds)")
    start = _number("offset", row.get("offset") or 0.0)
    length = row.get("duration")
    return {
        "path": row["audio_filepath"],
        "speaker": row.get("speaker", row.get("label")),
        "start": start or None,
        "end": None if length in (None, "") else start + _number("duration", length),
        "text": row.get("text"),
        "id": row.get("id"),
        "part": row.get("part"),
    }


def _speechbrain(row: Row, home: Path) -> Row:
    """speechbrain: `start` and `stop` in samples, {data_root} or $data_root for the folder of the corpus."""
    _refuse(row, ("offset", "end", "channel"), "speechbrain's `start` and `stop` (in samples)")
    path = str(row["wav"])
    for name in ("{data_root}", "$data_root", "{data_folder}", "$data_folder"):
        path = path.replace(name, str(home.absolute()))
    start, stop = (row.get(name) if row.get(name) not in (None, "") else None for name in ("start", "stop"))
    if start is not None or stop is not None:
        rate = _rate(home / path)
        start = None if start is None else _samples("start", start) / rate or None
        stop = None if stop is None else _samples("stop", stop) / rate
    return {
        "path": path,
        "speaker": row.get("spk_id", row.get("speaker")),
        "start": start,
        "end": stop,
        "text": row.get("wrd", row.get("words")),
        "id": row.get("ID"),
        "part": row.get("part"),
    }


def _refuse(row: Row, names: tuple[str, ...], own: str) -> None:
    for name in names:
        if row.get(name) not in (None, ""):
            raise ValueError(
                f"a row must say by {own} alone what to read, got {name} {row[name]!r}; `path`, `start` and `end` in "
                "seconds, and `channel` are a manifest's own columns"
            )


def _samples(name: str, value: object) -> float:
    number = _number(name, value)
    if not number.is_integer():
        raise ValueError(f"{name} must be a whole number of samples, got {value!r}")
    return number


def _number(name: str, value: object) -> float:
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{name} must be a number, got {value!r}") from None


def _rate(path: Path) -> int:
    try:
        return soundfile.info(path).samplerate
    except Exception as error:
        raise ValueError(f"wav must be audio whose start and stop are in samples, got {path} ({error})") from error
