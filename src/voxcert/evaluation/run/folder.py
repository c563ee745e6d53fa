"""The folder of a run: its settings, which a continued run must share, its rows and its summary.

Rows go to one append-only file per process; whole files are only ever replaced, never rewritten in place.
"""

import hashlib
import json
from collections.abc import Collection, Hashable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml

from voxcert.rows import replace_file

CONFIG, PLAN, ROWS, SUMMARY = "config.yaml", "plan.jsonl", "rows.jsonl", "summary.json"
LONGEST_NAME = 120
"""Of a file about an utterance; disks end at 255 bytes, and endings and claims come on top."""
LONGEST_ON_DISK = 255
"""Bytes of the name of any file."""
MAY_DIFFER = {
    "batch_size",
    "checkpoint",  # compared by its hash
    "data.num_workers",
    "devices",
    "embeddings",
    "judge",  # compared by its hash
    "log_format",
    "num_nodes",
    "output_dir",
    "trials",  # compared by its hash
}

BEFORE = {"plot": 0, "start": "utterance"}
"""What settings were before they were there, of those that were not null."""


def read_config(folder: str | Path) -> dict[str, Any] | None:
    """The settings that a folder was made with, or None for a new folder.

    Raises:
        ValueError: If the folder holds rows of unknown settings, or a config that cannot be read.
    """
    path = Path(folder) / CONFIG
    if not path.is_file():
        rows = Path(folder) / ROWS
        if rows.is_file() and rows.stat().st_size:
            raise ValueError(f"output_dir must be new or hold a run, got {folder} with {ROWS} but without {CONFIG}")
        return None
    try:
        return dict(yaml.safe_load(path.read_text()))
    except (yaml.YAMLError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is not the config of a run: {error}") from error


def check_settings(folder: str | Path, config: dict[str, Any], may_differ: Collection[str] = ()) -> None:
    """Refuses to continue a run with other settings.

    Args:
        folder: Output folder; a new one fits any settings.
        config: The settings now, nested as in YAML. Those in `MAY_DIFFER` change no row.
        may_differ: Others that change no row of this kind of run.

    Raises:
        ValueError: If a setting differs; names all of them with what the folder has and what was given.
    """
    found = read_config(folder)
    if found is None:
        return
    old, new = comparable(found), comparable(config)
    missing = "nothing"
    differences = [
        f"{name} is {old.get(name, missing)!r} there, got {new.get(name, missing)!r}"
        for name in sorted((old.keys() | new.keys()) - set(may_differ))
        if old.get(name, BEFORE.get(name)) != new.get(name)  # most are null in runs from before they were there
    ]
    if differences:
        raise ValueError(f"output_dir {folder} holds a run with other settings: {'; '.join(differences)}")


def comparable(config: dict[str, Any]) -> dict[str, Any]:
    """The settings that decide what the rows are, as `{"data.corpus.class_path": ...}`."""
    plain = yaml.safe_load(yaml.safe_dump(config))  # tuples and the like as YAML gives them back
    return {name: value for name, value in _flatten(plain).items() if name not in MAY_DIFFER}


def write_config(folder: str | Path, config: dict[str, Any]) -> None:
    """Keeps the settings; `--config` reads them back."""
    replace_file(Path(folder) / CONFIG, yaml.dump(config, Dumper=_Quoting, sort_keys=False))


def write_summary(folder: str | Path, summary: dict[str, Any]) -> None:
    """Writes summary.json."""
    replace_file(Path(folder) / SUMMARY, json.dumps(summary, indent=2, allow_nan=False) + "\n")


def read_summary(folder: str | Path) -> dict[str, Any]:
    """Reads summary.json.

    Raises:
        ValueError: If the run has none, which means that it was not finished, or a damaged one.
    """
    path = Path(folder) / SUMMARY
    if not path.is_file():
        raise ValueError(f"{folder} must be the folder of a finished run, got one without {SUMMARY}")
    try:
        return dict(json.loads(path.read_text()))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path} is not the summary of a run, a JSON object: {error}") from error


class _Quoting(yaml.SafeDumper):
    """Quotes texts that begin with a digit: a hash such as 12e34 is a number to some readers of YAML."""

    def represent_str(self, text: str) -> yaml.ScalarNode:
        """Represents a text."""
        style = "'" if text[:1].isdigit() else None
        return self.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Quoting.add_representer(str, _Quoting.represent_str)


def file_name(name: str) -> str:
    """What files about an utterance or a speaker are called: another for any other text, short enough for any disk."""
    quoted = quote(name, safe="", errors="surrogatepass")
    if len(quoted) <= LONGEST_NAME:
        return quoted
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return f"{quoted[: LONGEST_NAME - 17]}-{digest}"


def endings(keys: Sequence[Hashable], folders: Sequence[str | Path | None]) -> list[str]:
    """What tells runs apart that would be called the same: the end of their folders' paths, as long as it takes.

    Args:
        keys: Of each run, what it is called.
        folders: Of each run; None of one that was never in a folder.

    Returns:
        For each run the end of its path, such as " (audit-en/certify-0.1)", or "" where no other run has its key.
    """
    paths = [("in memory",) if folder is None else Path(folder).resolve().parts for folder in folders]
    found = []
    for key, own in zip(keys, paths, strict=True):
        same = [path for other, path in zip(keys, paths, strict=True) if other == key]
        lengths = range(1, len(own) + 1)
        end = next(own[-n:] for n in lengths if all(path[-n:] != own[-n:] for path in same if path != own))
        found.append(f" ({'/'.join(end)})" if len(same) > 1 else "")
    return found


def _flatten(value: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, item in value.items():
        flat |= _flatten(item, f"{prefix}{key}.") if isinstance(item, dict) and item else {f"{prefix}{key}": item}
    return flat
