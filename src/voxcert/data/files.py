"""Finds the audio files below a folder and reads text files: one scanner, with one rule for links and hidden names."""

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from voxcert.data.paths import is_file, is_folder, shown

READABLE = tuple(
    ".wav .wave .bwf .rf64 .w64 .flac .ogg .oga .opus .mp3 .mp2 .mpga .aif .aiff .aifc .au .snd .caf .sph .nist .voc "
    ".avr .htk .iff .svx .8svx .paf .pvf .sd2 .sds .sf .ircam .wve .xi .mpc".split()
)
"""Endings of what libsndfile reads; without MATLAB's .mat and header-less .raw, which say nothing of audio."""
UNREADABLE = tuple(
    ".m4a .m4b .mp4 .aac .ac3 .eac3 .3gp .3g2 .amr .awb .wma .asf .ape .wv .tta .tak .shn .dsf .dff .ra .ram .rm .spx "
    ".gsm .dts .alac .webm .mka .mkv .mov .avi .qt .vox .adts .mts .flv".split()
)
"""Endings of recordings that libsndfile does not read; they are counted, not forgotten."""
CONVERT = "convert each next to itself: ffmpeg -i X.m4a -ar 16000 -ac 1 X.wav"
_HEADS = re.compile(
    rb"(RIFF|RIFX|RF64)....WAVE|fLaC|OggS|ID3|NIST_1A|FORM....(AIF|8SVX)|\.snd|caff|#!AMR|....ftyp", re.S
)


@dataclass(frozen=True)
class PassedOver:
    """A file or folder that is left out, while reading goes on; those with one reason are counted together."""

    path: Path
    reason: str


def existing_folder(root: str | Path) -> Path:
    """Return the path of a folder that must be there.

    Raises:
        ValueError: It is not.
    """
    if not is_folder(root):
        raise ValueError(f"root must be an existing folder, got {shown(root)!r}")
    return Path(root)


def files(root: Path) -> Iterator[Path]:
    """Files below a folder in order of name, following links, without hidden files and folders.

    A link to a folder that the way from the root passes through already is not followed: it leads nowhere new.

    Args:
        root: Where to start.

    Raises:
        ValueError: A folder cannot be listed.
    """
    for folder, folders, names in os.walk(root, followlinks=True, onerror=_cannot_list):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and not _is_loop(root, folder, name))
        for name in sorted(names):
            if not name.startswith("."):
                yield Path(folder, name)


def recordings(root: Path) -> Iterator[Path | PassedOver]:
    """Audio files below a folder: the readable ones, and a `PassedOver` for what looks like audio and is not read.

    What is there in a readable form too, under the same name, is not missed.

    Args:
        root: Where to start.
    """
    for path in files(root):
        ending = path.suffix.lower()
        if ending in READABLE:
            yield path
        elif ending in UNREADABLE:
            if not any(path.with_suffix(other).exists() for other in (".wav", ".flac", ".ogg", ".WAV")):
                yield PassedOver(path, f"their endings are not read here ({CONVERT})")
        elif looks_like_audio(path):
            yield PassedOver(path, "they look like audio and have no ending that says so; rename them")


def counted(passed: Iterable[PassedOver]) -> list[str]:
    """One message for each reason: how many were passed over, of which endings, and an example.

    Args:
        passed: In any order.
    """
    by_reason: dict[str, list[Path]] = defaultdict(list)
    for one in passed:
        by_reason[one.reason].append(one.path)
    return [
        f"{len(paths)} passed over ({_endings(paths)}), such as {paths[0]}: {reason}"
        for reason, paths in by_reason.items()
    ]


def looks_like_audio(path: Path) -> bool:
    """Whether a file begins as one of the usual audio containers does."""
    if not is_file(path):  # a pipe would be waited for
        return False
    try:
        with path.open("rb") as file:
            head = file.read(12)
    except OSError:
        return False
    return _HEADS.match(head) is not None


def without_ending(name: str) -> str:
    """A name without the ending of an audio file; other dots are part of it.

    Args:
        name: Of a file, or an id.
    """
    stem, ending = os.path.splitext(name)
    return stem if ending.lower() in READABLE + UNREADABLE else name


def read_text(path: str | Path) -> str:
    """Read a UTF-8 text file, with or without a byte order mark.

    Args:
        path: Text file.

    Raises:
        ValueError: It cannot be read, or is in another encoding; the message names the line.
    """
    if not is_file(path):
        raise ValueError(f"{shown(path)}: must be a text file that can be read, got no file")
    try:
        data = Path(path).read_bytes()
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        wide = data[:2] in (b"\xff\xfe", b"\xfe\xff")
        source = "UTF-16" if wide else "ISO-8859-1"
        raise ValueError(
            f"{path}:{line}: a text file must be UTF-8, got the byte 0x{data[error.start]:02x}; convert it, for "
            f"example: iconv -f {source} -t UTF-8"
        ) from error
    except (OSError, ValueError) as error:
        raise ValueError(f"{shown(path)}: must be a text file that can be read, got {error}") from error


def write_whole(path: str | Path, text: str) -> None:
    """Write a UTF-8 text file or, if killed meanwhile, leave the old one as it was.

    Args:
        path: The file; what a link points at is written.
        text: All of it, with the line breaks that it is to have.

    Raises:
        OSError: If it cannot be written, on a full disk for example; names the file. The old one is left.
    """
    path = Path(os.path.realpath(path))
    draft = path.with_name(f".{path.name}.draft")
    try:
        draft.write_text(text, encoding="utf-8", newline="")
        draft.replace(path)
    except BaseException as error:
        draft.unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename = str(path)  # a write to an open file names none
        raise


def _is_loop(root: Path, folder: str, name: str) -> bool:
    place = Path(folder, name)
    if not place.is_symlink():
        return False
    target = os.path.realpath(place)
    way = [Path(folder), *Path(folder).parents]
    way = way[: len(way) - len(root.parents)]
    return target in {os.path.realpath(step) for step in way}


def _cannot_list(error: OSError) -> None:
    raise ValueError(f"{error.filename}: a folder must be readable, got {error.strerror}") from error


def _endings(paths: list[Path]) -> str:
    counts = Counter(path.suffix.lower() or "no ending" for path in paths)
    return ", ".join(f"{count} {ending}" for ending, count in sorted(counts.items()))
