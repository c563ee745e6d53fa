"""The folder of a certification run: its settings, its rows and its summary, safe against being killed at any moment.

Rows go to one append-only file per process; whole files are only ever replaced, never rewritten in place.
"""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from voxcert.smoothing.certificate import Certificate
from voxcert.smoothing.rows import RowWriter, finished_utterances, read_rows

CONFIG, ROWS, SUMMARY, PLOT = "config.yaml", "rows.jsonl", "summary.json", "certified_accuracy.png"
PROTOTYPES = "prototypes.safetensors"
MAY_DIFFER = {
    "accelerator",
    "batch_size",
    "checkpoint",  # compared by its hash
    "data.num_workers",
    "devices",
    "num_nodes",
    "output_dir",
    "plot",
}


def read_config(folder: str | Path) -> dict[str, Any] | None:
    """The settings that a folder was made with, or None for a new folder.

    Raises:
        ValueError: If the folder holds rows of unknown settings, or a config that cannot be read.
    """
    path = Path(folder) / CONFIG
    if not path.is_file():
        if (Path(folder) / ROWS).exists():
            raise ValueError(f"output_dir must be new or hold a run, got {folder} with {ROWS} but without {CONFIG}")
        return None
    try:
        return dict(yaml.safe_load(path.read_text()))
    except (yaml.YAMLError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is not the config of a run: {error}") from error


def check_settings(folder: str | Path, config: dict[str, Any]) -> None:
    """Refuses to continue a run with other settings.

    Args:
        folder: Output folder; a new one fits any settings.
        config: The settings now, nested as in YAML. Those in `MAY_DIFFER` change no row.

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
        for name in sorted(old.keys() | new.keys())
        if old.get(name, missing) != new.get(name, missing)
    ]
    if differences:
        raise ValueError(f"output_dir {folder} holds a run with other settings: {'; '.join(differences)}")


def comparable(config: dict[str, Any]) -> dict[str, Any]:
    """The settings that decide what the rows are, as `{"data.corpus.class_path": ...}`."""
    plain = yaml.safe_load(yaml.safe_dump(config))  # tuples and the like as YAML gives them back
    return {name: value for name, value in _flatten(plain).items() if name not in MAY_DIFFER}


def write_config(folder: str | Path, config: dict[str, Any]) -> None:
    """Keeps the settings; `--config` reads them back."""
    _replace(Path(folder) / CONFIG, yaml.dump(config, Dumper=_Quoting, sort_keys=False))


class _Quoting(yaml.SafeDumper):
    """Quotes texts that begin with a digit: a hash such as 12e34 is a number to some readers of YAML."""

    def represent_str(self, text: str) -> yaml.ScalarNode:
        """Represents a text."""
        style = "'" if text[:1].isdigit() else None
        return self.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Quoting.add_representer(str, _Quoting.represent_str)


def write_prototypes(folder: str | Path, prototypes: Tensor, speakers: list[str]) -> None:
    """Keeps the enrolled speakers: a continued run certifies the same classifier, and a user can deploy it."""
    path = Path(folder) / PROTOTYPES
    content = save({"prototypes": prototypes.cpu().contiguous()}, metadata={"speakers": json.dumps(speakers)})
    _replace(path, content)


def read_prototypes(folder: str | Path) -> tuple[Tensor, list[str]] | None:
    """Prototypes (speakers, dim) and names of a run's enrolled speakers; None before the enrolment.

    Raises:
        ValueError: If the file is not one that `write_prototypes` made.
    """
    path = Path(folder) / PROTOTYPES
    if not path.is_file():
        return None
    try:
        with safe_open(path, "pt") as file:
            return file.get_tensor("prototypes"), json.loads(file.metadata()["speakers"])
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} does not hold the enrolled speakers of a run: {error}") from error


def open_rows(folder: str | Path, rank: int) -> RowWriter:
    """The row file of one process."""
    return RowWriter(Path(folder) / (ROWS if rank == 0 else f"rows.rank{rank}.jsonl"))


def read_finished(folder: str | Path, rules: Iterable[str]) -> list[Certificate]:
    """Rows of the merged file whose utterance has all rules."""
    path, rules = Path(folder) / ROWS, list(rules)
    rows = read_rows(path) if path.exists() else []
    finished = finished_utterances(rows, rules)
    return [row for row in rows if row.utterance in finished]


def read_run(folder: str | Path) -> list[Certificate]:
    """Rows of a run, finished or not.

    Raises:
        ValueError: If there are none.
    """
    path = Path(folder) / ROWS
    rows = read_rows(path) if path.is_file() else []
    if not rows:
        raise ValueError(f"{folder} must be the folder of a certification run, got one without rows ({ROWS})")
    return rows


def merge_rows(folder: str | Path, rules: Iterable[str]) -> list[Certificate]:
    """Gathers the row files of all processes, of this run or a killed one, in rows.jsonl, by speaker and utterance.

    Rows of utterances that miss a rule are dropped, to be made again. A process that outlived a killed run writes on
    to a file without a name and harms nobody.

    Returns:
        All rows.
    """
    folder, rules = Path(folder), list(rules)
    files = sorted(folder.glob("rows*.jsonl"))
    unique = {(row.speaker, row.utterance, rules.index(row.rule)): row for file in files for row in read_rows(file)}
    finished = finished_utterances(unique.values(), rules)
    rows = [unique[key] for key in sorted(unique) if key[1] in finished]
    _replace(folder / ROWS, "".join(row.to_json() + "\n" for row in rows))
    for file in files:
        if file.name != ROWS:
            file.unlink()
    return rows


def write_summary(folder: str | Path, summary: dict[str, Any]) -> None:
    """Writes summary.json."""
    _replace(Path(folder) / SUMMARY, json.dumps(summary, indent=2, allow_nan=False) + "\n")


def read_summary(folder: str | Path) -> dict[str, Any]:
    """Reads summary.json.

    Raises:
        ValueError: If the run has none, which means that it was not finished.
    """
    path = Path(folder) / SUMMARY
    if not path.is_file():
        raise ValueError(f"{folder} must be the folder of a finished run, got one without {SUMMARY}")
    return json.loads(path.read_text())


def _replace(path: Path, content: str | bytes) -> None:
    """Writes a whole file or, if killed meanwhile, leaves the old one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("wb") as file:
        file.write(content.encode() if isinstance(content, str) else content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _flatten(value: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, item in value.items():
        flat |= _flatten(item, f"{prefix}{key}.") if isinstance(item, dict) and item else {f"{prefix}{key}": item}
    return flat
