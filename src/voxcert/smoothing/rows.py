"""Append-only files of certificates, one JSON line each, that survive a run being killed at any moment.

They join certifying and plotting, as the flat files of Cohen et al. 2019 do, so figures never need an accelerator.
"""

import os
from collections.abc import Iterable
from pathlib import Path

from voxcert.smoothing.certificate import Certificate


class RowWriter:
    """Appends certificates to a file; the rows of one utterance go down in one write.

    A torn last line, left by a run that was killed while writing, is cut off when the file is opened.

    Args:
        path: file to append to; created, with its folder, if missing.
        sync: whether to force every write to the disk (os.fsync).
    """

    def __init__(self, path: str | Path, sync: bool = True) -> None:
        self._path, self._sync = Path(path), sync
        self._path.parent.mkdir(parents=True, exist_ok=True)
        _cut_torn_line(self._path)
        self._file = open(self._path, "ab", buffering=0)

    def write(self, rows: Certificate | Iterable[Certificate]) -> None:
        """Appends one certificate or all those of an utterance."""
        group = [rows] if isinstance(rows, Certificate) else rows
        data = memoryview("".join(row.to_json() + "\n" for row in group).encode())
        while data:  # an unbuffered write may be short
            data = data[self._file.write(data) :]
        if self._sync:
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def __enter__(self) -> "RowWriter":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def read_rows(path: str | Path) -> list[Certificate]:
    """All complete rows of a file.

    Raises:
        ValueError: if a line other than a torn last one is not a certificate; names the file and the line.
    """
    *lines, _torn = Path(path).read_bytes().split(b"\n")
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            rows.append(Certificate.from_json(line.decode()))
        except (ValueError, TypeError) as error:
            raise ValueError(f"{path}, line {number}: not a certificate ({error})") from error
    return rows


def finished_utterances(rows: Iterable[Certificate], rules: Iterable[str]) -> set[str]:
    """Ids of the utterances that have a row for every one of the rules; only these can be skipped on a restart."""
    found: dict[str, set[str]] = {}
    for row in rows:
        found.setdefault(row.utterance, set()).add(row.rule)
    wanted = set(rules)
    return {utterance for utterance, names in found.items() if wanted <= names}


def _cut_torn_line(path: Path) -> None:
    if path.exists():
        data = path.read_bytes()
        os.truncate(path, data.rfind(b"\n") + 1)
