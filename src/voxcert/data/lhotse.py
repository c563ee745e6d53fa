"""Any corpus that lhotse knows (Żelasko et al. 2021): what its recipes and `lhotse prepare` write is read here."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from voxcert.data.corpus import Corpus, MissingLibrary, Refused
from voxcert.data.kaldi import Kaldi
from voxcert.data.paths import is_file, is_folder
from voxcert.data.utterance import Utterance

SUFFIXES = (".jsonl.gz", ".jsonl", ".json.gz", ".json", ".yaml.gz", ".yaml")


class Lhotse(Corpus):
    """Manifests of lhotse: a file of cuts, or a folder of recordings and supervisions.

    Every supervision is an utterance: its speaker, its text, its channel where the recording has several. What is not
    a plain stretch of a file (a mix, a pad, a transformed or remote recording) is refused by its id. In a folder,
    NAME_recordings_PART and NAME_supervisions_PART belong together, and PART becomes the part of the corpus.
    A Kaldi data directory is read by `Kaldi`, which does not need lhotse.

    Args:
        path: The file, or the folder.
    """

    def __init__(self, path: str):
        self.path = path

    def scan(self) -> Iterator[Utterance | Refused]:
        """Read the supervisions.

        Raises:
            MissingLibrary: lhotse is not installed.
            ValueError: There are no such manifests, or lhotse cannot read them.
        """
        if is_file(Path(self.path) / "wav.scp"):
            yield from Kaldi(self.path).scan()
            return
        lhotse = _lhotse()
        for path, part in self._files():
            home = path.parent
            for cut in _cuts(lhotse, path):
                for supervision in cut.supervisions:
                    try:
                        yield _utterance(cut, supervision, part, home)
                    except ValueError as error:
                        yield Refused(f"{path}: {supervision.id}: {error}")
                if not cut.supervisions:
                    yield Refused(f"{path}: {cut.id}: a cut must have a supervision that names its speaker, got none")

    def _files(self) -> list[tuple[Path, str]]:
        """Files of cuts or of recordings, each with its part."""
        path = Path(self.path)
        if is_file(path):
            return [(path, "")]
        if not is_folder(path):
            raise ValueError(f"path must be a manifest of lhotse, or a folder of some, got {self.path!r}")
        found = sorted(one for one in path.iterdir() if one.name.endswith(SUFFIXES) and "recordings" in one.name)
        if not found:
            raise ValueError(
                "path must hold NAME_recordings_PART.jsonl.gz beside NAME_supervisions_PART.jsonl.gz, "
                f"got {self.path!r}"
            )
        return [(one, _bare(one.name).partition("recordings")[2].strip("_-.")) for one in found]


def _cuts(lhotse: Any, path: Path) -> Any:
    """The cuts of a file of cuts, or of a file of recordings and of the supervisions beside it."""
    try:
        manifest = lhotse.load_manifest(path)
        if isinstance(manifest, lhotse.RecordingSet):
            beside = path.with_name(path.name.replace("recordings", "supervisions"))
            if not is_file(beside) or beside == path:
                raise ValueError(f"{path}: recordings must have supervisions beside them, got no {beside.name}")
            manifest = lhotse.CutSet.from_manifests(manifest, lhotse.load_manifest(beside))
    except Exception as error:
        raise ValueError(f"{path}: must be a manifest that lhotse can read, got: {error}") from error
    if not isinstance(manifest, lhotse.CutSet):
        raise ValueError(f"{path}: must hold cuts or recordings, got a {type(manifest).__name__}")
    return manifest


def _utterance(cut: Any, supervision: Any, part: str, home: Path) -> Utterance:
    recording = getattr(cut, "recording", None)
    if recording is None:
        raise ValueError(f"must be a stretch of one recording, got a {type(cut).__name__}")
    if recording.transforms:
        raise ValueError(f"must be a recording as it is in its file, got transforms {recording.transforms}")
    source, channel = _source(recording, supervision)
    if source.type != "file":
        raise ValueError(f"its audio must be a file, got {source.type}")
    path = Path(source.source)
    path = path if is_file(path) else home / path
    if not is_file(path):
        raise ValueError(f"its audio must be an existing file, got {source.source}")
    if supervision.speaker is None:
        raise ValueError("a supervision must name its speaker, got none")
    start = round(cut.start + supervision.start, 6)
    return Utterance(
        id=supervision.id,
        path=path,
        speaker=supervision.speaker,
        start=start,
        end=round(start + supervision.duration, 6),
        text=supervision.text or "",
        part=part,
        channel=channel,
        origin=f"{path} ({supervision.id})",
    )


def _source(recording: Any, supervision: Any) -> tuple[Any, int | None]:
    """The file that a supervision is about, and which of its channels, 0 being the first; None where it has one.

    The only channel of a recording is meant by any number.
    """
    channels = supervision.channel if isinstance(supervision.channel, list) else [supervision.channel]
    there = [number for one in recording.sources for number in one.channels]
    if len(channels) != 1 or (len(there) > 1 and channels[0] not in there):
        raise ValueError(f"its channel must be one of {there}, got {supervision.channel}")
    source = next((one for one in recording.sources if channels[0] in one.channels), recording.sources[0])
    return source, source.channels.index(channels[0]) if len(source.channels) > 1 else None


def _bare(name: str) -> str:
    return next(name.removesuffix(ending) for ending in SUFFIXES if name.endswith(ending))


def _lhotse() -> Any:
    try:
        import lhotse
    except ImportError as error:
        message = 'Lhotse needs lhotse: pip install "voxcert[lhotse]"'
        raise MissingLibrary(message) from error
    return lhotse
