"""Tells recordings apart by what they are, not by how their paths are written: overlapping stretches, and copies.

One file under two paths has one place on the disk; copies are found by looking closer and closer at what may be equal.
"""

import hashlib
import math
import os
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from itertools import combinations, product
from pathlib import Path
from typing import BinaryIO

import soundfile

from voxcert.data.audio_length import BLOCK_FRAMES
from voxcert.data.paths import is_file
from voxcert.data.utterance import Utterance

SLACK = 1e-6  # seconds: stretches that touch do not overlap
SAMPLED_BYTES = 4096
SAMPLED_FRAMES = 800

Probe = Callable[[Path], Hashable]
Alike = Callable[[Iterable[Path]], list[list[Path]]]


def file_key(path: str | Path) -> Hashable:
    """The same for every spelling of a file's path and for every link to it.

    Args:
        path: Of a file; the path itself, made absolute, stands for one that is not there.
    """
    try:
        found = os.stat(path)
        return found.st_dev, found.st_ino
    except (OSError, ValueError):
        return os.path.abspath(str(path).replace("\0", ""))


def overlapping(utterances: Iterable[Utterance]) -> list[tuple[Utterance, Utterance]]:
    """Pairs of utterances that share audio: stretches of one file that overlap, on one channel or an average.

    Args:
        utterances: In any order.

    Returns:
        Each utterance that begins before an earlier one ends, behind that one; ordered by file and start.
    """
    by_path: dict[str, list[Utterance]] = defaultdict(list)
    for one in utterances:
        by_path[str(one.path)].append(one)
    by_file: dict[Hashable, list[Utterance]] = defaultdict(list)
    for path, own in by_path.items():
        by_file[file_key(path)] += own
    pairs = []
    for own in by_file.values():
        channels = {one.channel for one in own} - {None} or {None}
        found = [pair for channel in channels for pair in _sweep([o for o in own if o.channel in (None, channel)])]
        pairs += list({(id(first), id(second)): (first, second) for first, second in found}.values())
    return pairs


def copies(utterances: Iterable[Utterance], alike: Alike | None = None) -> list[tuple[Utterance, Utterance]]:
    """Pairs of utterances whose files are copies of each other and whose stretches overlap.

    Args:
        utterances: In any order.
        alike: How copies are found: `equal_files` (None), or `equal_recordings`.
    """
    by_path: dict[Path, list[Utterance]] = defaultdict(list)
    for one in dict.fromkeys(utterances):
        by_path[one.path].append(one)
    return [
        pair
        for same in (alike or equal_files)(by_path)
        for paths in combinations(sorted(same), 2)
        for pair in product(*(by_path[path] for path in paths))
        if _share(*pair)
    ]


def equal_files(paths: Iterable[Path]) -> list[list[Path]]:
    """Files with the same bytes: of one size, then with the same bytes in three places, then altogether.

    Args:
        paths: Files; those that cannot be read equal nothing.
    """
    return _alike(list(paths), [_size, _sample, content_hash])


def equal_recordings(paths: Iterable[Path]) -> list[list[Path]]:
    """Files that decode to the same samples, in whatever container: of one length, then sample by sample.

    Args:
        paths: Files; those that cannot be read equal nothing.
    """
    return _alike(list(paths), [_header, _middle, _samples])


def content_hash(path: str | Path) -> str:
    """SHA-256 of a file's bytes; a text that says so where it cannot be read.

    Args:
        path: Any file.
    """
    if not is_file(path):
        return "not readable"
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, ValueError):
        return "not readable"


def _alike(paths: list[Path], probes: Sequence[Probe]) -> list[list[Path]]:
    """Groups of two or more that no probe tells apart; later probes see only what earlier ones left together."""
    groups = [[path for path in paths if is_file(path)]]  # a pipe would be waited for
    for probe in probes:
        finer: list[list[Path]] = []
        for group in groups:
            answers: dict[Hashable, list[Path]] = defaultdict(list)
            for path in group:
                try:
                    answers[probe(path)].append(path)
                except Exception:  # what cannot be read is reported where it is loaded
                    continue
            finer += [own for own in answers.values() if len(own) > 1]
        groups = finer
    return groups


def _size(path: Path) -> int:
    return path.stat().st_size


def _sample(path: Path) -> bytes:
    size = path.stat().st_size
    with path.open("rb") as file:
        return b"".join(_bytes_at(file, place) for place in (0, size // 2, max(0, size - SAMPLED_BYTES)))


def _bytes_at(file: BinaryIO, place: int) -> bytes:
    file.seek(place)
    return file.read(SAMPLED_BYTES)


def _header(path: Path) -> tuple[int, int]:
    found = soundfile.info(path)
    return found.frames, found.samplerate


def _middle(path: Path) -> bytes:
    with soundfile.SoundFile(path) as file:
        file.seek(file.frames // 2)
        return file.read(SAMPLED_FRAMES, dtype="float32", always_2d=True).tobytes()


def _samples(path: Path) -> str:
    digest = hashlib.sha256()
    with soundfile.SoundFile(path) as file:
        for block in file.blocks(BLOCK_FRAMES, dtype="float32", always_2d=True):
            digest.update(block.tobytes())
    return digest.hexdigest()


def _share(first: Utterance, second: Utterance) -> bool:
    channels = None in (first.channel, second.channel) or first.channel == second.channel
    return channels and first.start < _end(second) - SLACK and second.start < _end(first) - SLACK


def _end(one: Utterance) -> float:
    return math.inf if one.end is None else one.end


def _sweep(own: list[Utterance]) -> Iterable[tuple[Utterance, Utterance]]:
    latest: Utterance | None = None
    for one in sorted(own, key=lambda one: (one.start, _end(one), one.origin, one.id)):
        if latest is not None and _share(latest, one):
            yield latest, one
        if latest is None or _end(one) > _end(latest):
            latest = one
