"""Speech corpora that are folders of audio files: LibriSpeech, VoxCeleb, TIMIT, and one folder per speaker."""

import re
import shutil
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from filelock import FileLock

from voxcert.data.corpus import Corpus, Refused
from voxcert.data.files import (
    CONVERT,
    PassedOver,
    existing_folder,
    files,
    read_text,
    recordings,
    without_ending,
)
from voxcert.data.paths import is_folder
from voxcert.data.utterance import Utterance

_VOXCELEB = re.compile(r"/((id\d{5}(?=/[^/]+/[^/]+$)|[^/]+(?=/[\w-]{11}/\d+$))/[^/]+/[^/]+)$")  # videos have 11 letters
_TIMIT = re.compile(r"/(train|test)/dr\d/(\w+)/(\w+)\.wav$", re.IGNORECASE)


class LibriSpeech(Corpus):
    """LibriSpeech (Panayotov et al. 2015), in its own layout: root/PART/SPEAKER/CHAPTER/*.flac.

    Args:
        root: Folder that holds the parts, or one with the folder `LibriSpeech` that does.
        parts: Parts to read, such as train-clean-100; all that are there when None.
        download: Fetch the parts that are absent from openslr.org (`parts` must be given).
    """

    def __init__(self, root: str, parts: list[str] | None = None, download: bool = False):
        if parts is not None and not parts:
            raise ValueError("parts must name at least one part (or be None for all of them), got []")
        if download and parts is None:
            raise ValueError("parts must be given when download is true, got None")
        self.root, self.parts, self.download = root, parts, download

    def scan(self) -> Iterator[Utterance | PassedOver | Refused]:
        """Read the chosen parts, with their transcripts where present."""
        root = Path(self.root) / "LibriSpeech"
        if not is_folder(root) and (not self.download or any(is_folder(Path(self.root, part)) for part in self.parts)):
            root = Path(self.root)
        if self.download and not all(is_folder(root / part) for part in self.parts):
            _download_librispeech(root, self.parts, Path(self.root))
        root = existing_folder(root)
        present = sorted(folder.name for folder in root.iterdir() if folder.is_dir() and folder.name[0] != ".")
        for part in present if self.parts is None else self.parts:
            if part not in present:
                raise ValueError(f"parts must be among {present} (in {root}), got {part!r}")
            found = list(recordings(root / part))
            paths = [path for path in found if isinstance(path, Path)]
            if self.parts and not paths:
                raise ValueError(f"parts must hold audio files, got {part!r} (in {root}) without any")
            yield from (one for one in found if isinstance(one, PassedOver))
            for folder, own in groupby(paths, key=lambda path: path.parent):
                texts: dict[str, str] = {}
                try:
                    texts = _librispeech_texts(folder)
                except ValueError as error:
                    yield Refused(str(error))
                for path in own:
                    layout = re.fullmatch(r"([^-]+)-[^-]+-\d+", path.stem)
                    if layout is None:
                        yield PassedOver(path, "a recording of LibriSpeech is called SPEAKER-CHAPTER-NUMBER")
                    else:
                        yield Utterance(path.stem, path, layout[1], text=texts.get(path.stem, ""), part=part)


class VoxCeleb(Corpus):
    """VoxCeleb 1 and 2 (Nagrani et al. 2017, Chung et al. 2018): [dev|test]/[wav|aac]/SPEAKER/VIDEO/NUMBER.wav.

    Speakers are idXXXXX, or celebrities' names (A.J._Buckley) as in VoxCeleb 1's first release. Ids read
    SPEAKER/VIDEO/NUMBER, as in the official trial lists. The part is "test" below a folder of that name inside the
    root and for the 40 test speakers of VoxCeleb 1 (id10270 to id10309, the names that begin with E), otherwise "dev".

    Args:
        root: Folder with any number of the unpacked archives below it.
    """

    def __init__(self, root: str):
        self.root = root

    def scan(self) -> Iterator[Utterance | PassedOver | Refused]:
        """Find every SPEAKER/VIDEO/NUMBER file; recordings as AAC (.m4a) alone, as VoxCeleb 2 has them, are refused."""
        root = existing_folder(self.root)
        aac = []
        for found in recordings(root):
            path = found.path if isinstance(found, PassedOver) else found
            place = path.relative_to(root)
            layout = _VOXCELEB.search(f"/{without_ending(place.as_posix())}")
            if layout is None:
                yield PassedOver(path, "a recording of VoxCeleb lies in SPEAKER/VIDEO and is called by a number")
            elif isinstance(found, PassedOver):
                aac.append(path)
            else:
                name, speaker = layout.groups()
                yield Utterance(name, path, speaker, part=_voxceleb_part(place, speaker))
        if aac:
            yield Refused(
                f"{self.root}: {len(aac)} recordings are only there as AAC, which is not readable here, such as "
                f"{aac[0]}; {CONVERT}"
            )


class TIMIT(Corpus):
    """TIMIT (LDC93S1): TRAIN|TEST/DR*/SPEAKER/*.WAV in upper or lower case, with *.TXT transcripts.

    Ids read SPEAKER/SENTENCE in upper case; the parts are "train" and "test".

    Args:
        root: Folder with TRAIN and TEST in it, or anywhere below it.
    """

    def __init__(self, root: str):
        self.root = root

    def scan(self) -> Iterator[Utterance | PassedOver | Refused]:
        """Find every recording of the published layout; copies such as SA1.WAV.wav are passed over."""
        root = existing_folder(self.root)
        for found in recordings(root):
            path = found.path if isinstance(found, PassedOver) else found
            layout = _TIMIT.search(path.absolute().as_posix())
            if layout is None or isinstance(found, PassedOver):
                if not without_ending(path.name).lower().endswith(".wav"):
                    yield PassedOver(path, "a recording of TIMIT lies in TRAIN|TEST/DR*/SPEAKER and ends in .WAV")
                continue
            part, speaker, sentence = layout.groups()
            name = f"{speaker}/{sentence}".upper()
            try:
                yield Utterance(name, path, speaker.upper(), text=_timit_text(path), part=part.lower())
            except ValueError as error:
                yield Refused(str(error))


class SpeakerFolders(Corpus):
    """One folder per speaker with audio files of any readable format anywhere below it.

    Args:
        root: Folder of the speakers' folders.
        channel: Channel to read of every file, 0 being the first; the average of all when null.
    """

    def __init__(self, root: str, channel: int | None = None):
        self.root, self.channel = root, channel

    def scan(self) -> Iterator[Utterance | PassedOver | Refused]:
        """Find every audio file; its id is the path from the root without the suffix.

        A file beside the speakers' folders is refused, and so is a speaker's folder in which nothing can be read.
        """
        root = existing_folder(self.root)
        heard, unread = set(), {}
        for found in recordings(root):
            path = found.path if isinstance(found, PassedOver) else found
            name = path.relative_to(root)
            if len(name.parts) == 1:
                yield Refused(f"{path}: must lie in the folder of its speaker, got a file in the root itself")
            elif isinstance(found, PassedOver):
                unread[name.parts[0]] = found
                yield found
            else:
                heard.add(name.parts[0])
                identifier = name.with_suffix("").as_posix()
                yield Utterance(identifier, path, name.parts[0], channel=self.channel)
        for folder in sorted(root.iterdir()):
            if folder.is_dir() and not folder.name.startswith(".") and folder.name not in heard:
                yield _silent_folder(folder, unread.get(folder.name))


def _silent_folder(folder: Path, unread: PassedOver | None) -> PassedOver | Refused:
    """What to say of a speaker's folder without a readable recording."""
    if unread is not None:
        return Refused(f"{folder}: has no recording that can be read, only such as {unread.path}: {unread.reason}")
    if next(files(folder), None) is None:
        return Refused(f"{folder}: is empty; a speaker's folder must hold recordings (or be removed)")
    return PassedOver(folder, "a folder without audio is taken for no speaker")


def _librispeech_texts(folder: Path) -> dict[str, str]:
    lines = [line for path in sorted(folder.glob("*.trans.txt")) for line in read_text(path).splitlines()]
    return dict(line.split(" ", 1) for line in lines if " " in line)


def _download_librispeech(root: Path, parts: list[str], archives: Path) -> None:
    """Unpack absent parts, and fetch absent archives; killed at any moment, it leaves a part whole or not at all."""
    from torchaudio.datasets import LIBRISPEECH  # imported here: it is only needed where something is fetched

    draft = root / ".download"  # hidden, so no part
    draft.mkdir(parents=True, exist_ok=True)
    with FileLock(draft / ".lock"):  # other processes may want the same parts
        for part in parts:
            if not is_folder(root / part):
                shutil.rmtree(draft / "LibriSpeech", ignore_errors=True)  # what was unpacked when one was killed
                archive = archives / f"{part}.tar.gz"
                if archive.is_file():
                    (draft / archive.name).unlink(missing_ok=True)
                    (draft / archive.name).symlink_to(archive.absolute())
                try:
                    LIBRISPEECH(draft, url=part, download=True)
                    (draft / "LibriSpeech" / part).rename(root / part)
                except Exception as error:  # of the network, the disk or the archive: which one is torchaudio's affair
                    raise ValueError(_not_fetched(part, archive, error)) from error
                (draft / archive.name).unlink(missing_ok=True)


def _not_fetched(part: str, archive: Path, error: Exception) -> str:
    reason = str(error) or type(error).__name__
    if archive.is_file():
        return f"{archive} must be the whole archive of {part} (remove it, and it is fetched anew), got: {reason}"
    return (
        f"parts must be there or be had from openslr.org, got {part!r}, which could not be fetched: {reason} "
        f"(its archive may be put there by hand: {archive})"
    )


def _voxceleb_part(place: Path, speaker: str) -> str:
    """The part by the place inside the root: what the folders above it are called says nothing."""
    by_id = re.fullmatch(r"id\d{5}", speaker)
    reserved = "id10270" <= speaker <= "id10309" if by_id else speaker.startswith("E")
    is_test = "test" in place.parts[-5:-3] or reserved
    return "test" if is_test else "dev"


def _timit_text(path: Path) -> str:
    for transcript in (path.with_suffix(".TXT"), path.with_suffix(".txt")):
        if transcript.is_file():
            words = read_text(transcript).split(maxsplit=2)[2:]  # after first and last sample
            return words[0].strip() if words else ""
    return ""
