"""Speech corpora that are folders of audio files: LibriSpeech, VoxCeleb, TIMIT, and one folder per speaker."""

import os
import re
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path

from voxcert.data.corpus import Corpus, Utterance

READABLE = (".wav", ".flac", ".ogg", ".mp3")


class LibriSpeech(Corpus):
    """LibriSpeech (Panayotov et al. 2015), in its own layout: root/PART/SPEAKER/CHAPTER/*.flac.

    Args:
        root: Folder that holds the parts, or the folder `LibriSpeech` that does.
        parts: Parts to read, such as train-clean-100; all that are there when None.
        download: Fetch the parts that are absent from openslr.org (`parts` must be given).
    """

    def __init__(self, root: str, parts: list[str] | None = None, download: bool = False):
        if parts is not None and not parts:
            raise ValueError("parts must name at least one part (or be None for all of them), got []")
        if download and parts is None:
            raise ValueError("parts must be given when download is true, got None")
        self.root, self.parts, self.download = root, parts, download

    def scan(self) -> Iterator[Utterance]:
        """Read the chosen parts, with their transcripts where present."""
        home = Path(self.root) / "LibriSpeech"
        if self.download:
            _download_librispeech(self.root, [part for part in self.parts if not (home / part).is_dir()])
        root = existing_folder(home if home.is_dir() else self.root)
        present = sorted(folder.name for folder in root.iterdir() if folder.is_dir())
        for part in present if self.parts is None else self.parts:
            if part not in present:
                raise ValueError(f"parts must be among {present} (in {root}), got {part!r}")
            paths = list(audio_files(root / part, (".flac",)))
            if self.parts and not paths:
                raise ValueError(f"parts must hold FLAC files, got {part!r} (in {root}) without any")
            for folder, own in groupby(paths, key=lambda path: path.parent):
                texts = _librispeech_texts(folder)
                for path in own:
                    speaker = path.stem.split("-")[0]
                    yield Utterance(path.stem, path, speaker, text=texts.get(path.stem, ""), part=part)


class VoxCeleb(Corpus):
    """VoxCeleb 1 and 2 (Nagrani et al. 2017, Chung et al. 2018): [dev|test]/[wav|aac]/idXXXXX/VIDEO/NUMBER.wav.

    Ids read idXXXXX/VIDEO/NUMBER, as in the official trial lists. The part is "test" below a folder of that name and
    for the 40 test speakers of VoxCeleb 1 (id10270 to id10309), otherwise "dev".

    Args:
        root: Folder with any number of the unpacked archives below it.
    """

    def __init__(self, root: str):
        self.root = root

    def scan(self) -> Iterator[Utterance]:
        """Find every idXXXXX/VIDEO/NUMBER file.

        Raises:
            ValueError: There are recordings as AAC (.m4a) alone, which is what VoxCeleb 2 is published as.
        """
        found, aac = set(), {}
        for path in audio_files(existing_folder(self.root), (*READABLE, ".m4a")):
            layout = re.search(r"((id\d{5})/[^/]+/[^/.]+)\.\w+$", path.absolute().as_posix())
            if layout is None:
                continue
            name, speaker = layout.groups()
            if path.suffix.lower() == ".m4a":
                aac[name] = path
            else:
                found.add(name)
                yield Utterance(name, path, speaker, part=_voxceleb_part(path, speaker))
        unreadable = sorted(aac.keys() - found)
        if unreadable:
            raise ValueError(
                f"{self.root}: {len(unreadable)} recordings are only there as AAC, which is not readable here, such as "
                f"{aac[unreadable[0]]}; convert each next to itself: ffmpeg -i X.m4a -ar 16000 -ac 1 X.wav"
            )


class TIMIT(Corpus):
    """TIMIT (LDC93S1): TRAIN|TEST/DR*/SPEAKER/*.WAV in upper or lower case, with *.TXT transcripts.

    Ids read SPEAKER/SENTENCE in upper case; the parts are "train" and "test".

    Args:
        root: Folder with TRAIN and TEST in it, or anywhere below it.
    """

    def __init__(self, root: str):
        self.root = root

    def scan(self) -> Iterator[Utterance]:
        """Find every recording of the published layout; copies such as SA1.WAV.wav are passed over."""
        for path in audio_files(existing_folder(self.root), (".wav",)):
            layout = re.search(r"/(train|test)/dr\d/(\w+)/(\w+)\.wav$", path.absolute().as_posix(), re.IGNORECASE)
            if layout is not None:
                part, speaker, sentence = layout.groups()
                name = f"{speaker}/{sentence}".upper()
                yield Utterance(name, path, speaker.upper(), text=_timit_text(path), part=part.lower())


class SpeakerFolders(Corpus):
    """One folder per speaker with audio files (wav, flac, ogg, mp3) anywhere below it.

    Args:
        root: Folder of the speakers' folders.
    """

    def __init__(self, root: str):
        self.root = root

    def scan(self) -> Iterator[Utterance]:
        """Find every audio file; its id is the path from the root without the suffix."""
        root = existing_folder(self.root)
        for path in audio_files(root, READABLE):
            name = path.relative_to(root)
            if len(name.parts) == 1:
                raise ValueError(f"{path}: must lie in the folder of its speaker, got a file in the root itself")
            yield Utterance(name.with_suffix("").as_posix(), path, name.parts[0])


def existing_folder(root: str | Path) -> Path:
    """Return the path of a folder that must be there.

    Raises:
        ValueError: It is not.
    """
    if not Path(root).is_dir():
        raise ValueError(f"root must be an existing folder, got {str(root)!r}")
    return Path(root)


def audio_files(root: Path, suffixes: Iterable[str]) -> Iterator[Path]:
    """Files below a folder, following links, that end in one of the suffixes (in any case) and are not hidden."""
    endings = tuple(suffixes)
    for folder, _, names in os.walk(root, followlinks=True):
        for name in names:
            if name.lower().endswith(endings) and not name.startswith("."):
                yield Path(folder, name)


def _librispeech_texts(folder: Path) -> dict[str, str]:
    lines = [line for path in folder.glob("*.trans.txt") for line in path.read_text("utf-8").splitlines()]
    return dict(line.split(" ", 1) for line in lines if " " in line)


def _download_librispeech(root: str, parts: list[str]) -> None:
    from torchaudio.datasets import LIBRISPEECH  # imported here: it is only needed where something is fetched

    Path(root).mkdir(parents=True, exist_ok=True)
    for part in parts:
        LIBRISPEECH(root, url=part, download=True)


def _voxceleb_part(path: Path, speaker: str) -> str:
    is_test = "test" in path.absolute().parts[-5:-3] or "id10270" <= speaker <= "id10309"
    return "test" if is_test else "dev"


def _timit_text(path: Path) -> str:
    for transcript in (path.with_suffix(".TXT"), path.with_suffix(".txt")):
        if transcript.is_file():
            return transcript.read_text("utf-8").split(maxsplit=2)[2].strip()  # after first and last sample
    return ""
