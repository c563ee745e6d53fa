"""Kaldi data directories (Povey et al. 2011): wav.scp, utt2spk and, if you like, segments and text.

lhotse reads these too, but leaves out recordings that it cannot open with a line in its log; here every line counts.
"""

import math
import re
from collections.abc import Iterator
from pathlib import Path

from voxcert.data.corpus import Corpus, Refused
from voxcert.data.files import existing_folder, read_text
from voxcert.data.paths import is_file, shown
from voxcert.data.utterance import Utterance

_FLAC = r"(?:(?:-[cdsfF]+|--decode|--stdout|--silent|--force)\s+)"  # the options that leave all the audio as it is
_DECODERS = (  # the commands that recipes put before formats that are read here as they are
    re.compile(rf"^(?:\S*/)?flac\s+{_FLAC}*(?:-[csfF]*d[csfF]*|--decode)\s+{_FLAC}*(?P<path>[^\s|-][^|]*?)\s*\|$"),
    re.compile(r"^(?:\S*/)?sph2pipe\s+(?:-f\s+\w+\s+|-p\s+|-c\s+(?P<channel>[12])\s+)*(?P<path>[^\s|-][^|]*?)\s*\|$"),
)
Lines = dict[str, tuple[str, str]]


class Kaldi(Corpus):
    """A Kaldi data directory.

    wav.scp holds files; of commands those that only decode a file (flac, sph2pipe) are understood, others are refused:
    nothing is run. Relative paths start where Kaldi's do, in the working directory, or else in the data directory.

    Args:
        root: The directory with wav.scp and utt2spk.
        part: Part of the corpus that its utterances are given.
    """

    def __init__(self, root: str, part: str = ""):
        self.root, self.part = root, part

    def scan(self) -> Iterator[Utterance | Refused]:
        """Read the tables; a line of one that others do not complete is refused.

        Raises:
            ValueError: wav.scp or utt2spk is missing or no text.
        """
        root = existing_folder(self.root)
        refused: list[Refused] = []
        tables = {name: self._table(root / name, refused) for name in ("wav.scp", "utt2spk", "segments", "text")}
        yield from refused
        speakers, segments = tables["utt2spk"], tables["segments"]
        if not (root / "segments").is_file():
            segments = {name: (f"{name} 0 -1", place) for name, (_, place) in tables["wav.scp"].items()}
        for name, (stretch, place) in segments.items():
            try:
                if name not in speakers:
                    raise ValueError(f"utterance {name!r} must have a speaker in utt2spk, got none")
                yield self._utterance(name, stretch, place, tables)
            except ValueError as error:
                yield Refused(f"{place}: {error}")
        for name in speakers.keys() - segments.keys():
            yield Refused(f"{speakers[name][1]}: utterance {name!r} must have audio in segments or wav.scp, got none")

    def _table(self, path: Path, refused: list[Refused]) -> Lines:
        """Lines `KEY REST` as KEY -> (REST, "FILE:LINE")."""
        if not is_file(path):
            if path.name in ("wav.scp", "utt2spk"):
                raise ValueError(f"{path.parent}: a Kaldi data directory must have {path.name}, got none")
            return {}
        lines: Lines = {}
        for number, line in enumerate(read_text(path).split("\n"), start=1):
            key, *rest = line.strip().split(maxsplit=1)[:2] or [""]
            place = f"{path}:{number}"
            if key in lines:
                refused.append(Refused(f"{place}: a key may be listed once, {key!r} is in {lines[key][1]} too"))
            elif key and (rest or path.name == "text"):
                lines[key] = (rest[0] if rest else "", place)
            elif key:
                refused.append(Refused(f"{place}: a line must read KEY VALUE, got {key!r}"))
        return lines

    def _utterance(self, name: str, stretch: str, place: str, tables: dict[str, Lines]) -> Utterance:
        fields = stretch.split()
        if len(fields) not in (3, 4):
            raise ValueError(f"a line must read UTTERANCE RECORDING START END [CHANNEL], got {name} {stretch!r}")
        recording = fields[0]
        if recording not in tables["wav.scp"]:
            raise ValueError(f"recording {recording!r} must be in wav.scp, it is not")
        source, origin = tables["wav.scp"][recording]
        path, channel = _audio(source, Path(self.root))
        try:
            start, end = float(fields[1]), float(fields[2])
        except ValueError:
            raise ValueError(f"start and end must be seconds, got {fields[1]} and {fields[2]}") from None
        end = math.inf if end == -1 else end
        if not 0 <= start < end:
            raise ValueError(f"start and end must satisfy 0 <= start < end (or end -1), got {start} and {end}")
        if len(fields) == 4:
            channel = _channel(fields[3], channel)
        last = None if end == math.inf else end
        text = tables["text"].get(name, ("", ""))[0]
        return Utterance(name, path, tables["utt2spk"][name][0], start, last, text, self.part, channel, place or origin)


def _channel(named: str, decoded: int | None) -> int | None:
    """The channel of a file that a segment names, among those that its command prints.

    Args:
        named: 0 is the first; -1 where there is one.
        decoded: The one channel of the file that the command prints; None if it prints all.
    """
    if named == "-1":
        return decoded
    if not named.isdecimal() or (decoded is not None and named != "0"):
        allowed = "0 (the first), 1, ... or -1" if decoded is None else "0 or -1, of the one that its command prints"
        raise ValueError(f"a channel must be {allowed}, got {named}")
    return int(named) if decoded is None else decoded


def _audio(source: str, root: Path) -> tuple[Path, int | None]:
    """File and channel that an entry of wav.scp stands for."""
    channel = None
    if source.endswith("|"):
        match = next((found for one in _DECODERS if (found := one.match(source))), None)
        if match is None:
            raise ValueError(
                f"an entry of wav.scp must be a file (or a flac or sph2pipe command that decodes one), got {source!r}; "
                "commands are not run: write what they print into files first"
            )
        source = match["path"].strip("'\"")
        channel = int(match["channel"]) - 1 if match.groupdict().get("channel") else None
    found = next((path for path in (Path(source), root / source) if is_file(path)), None)
    if found is None:
        raise ValueError(f"an entry of wav.scp must be an existing file, got {shown(source)} (nor is it in {root})")
    return found, channel
