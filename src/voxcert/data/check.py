"""Reads a corpus from end to end, as a run would, and says what is in it, what is refused and why, and what leaks."""

import hashlib
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from statistics import median
from typing import Any

import soundfile
from torch import Tensor
from tqdm import tqdm

from voxcert.data.audio import SAMPLE_RATE, AudioError, check_audible, crop
from voxcert.data.corpora import TIMIT, LibriSpeech, SpeakerFolders, VoxCeleb
from voxcert.data.corpus import Corpus, shared_audio, without_one_of_each
from voxcert.data.datasets import crop_name
from voxcert.data.enrollment import by_speaker, cut
from voxcert.data.files import recordings
from voxcert.data.kaldi import Kaldi
from voxcert.data.lhotse import Lhotse
from voxcert.data.manifest import Manifest
from voxcert.data.paths import is_file, is_folder, shown
from voxcert.data.same_audio import copies
from voxcert.data.splits import Protocol, split_speakers
from voxcert.data.utterance import Utterance

KINDS = {kind.__name__: kind for kind in (SpeakerFolders, Manifest, LibriSpeech, VoxCeleb, TIMIT, Kaldi, Lhotse)}
_LAYOUTS = {  # the place of a recording inside the root -> who reads it
    re.compile(r"(^|/)(train|test)/dr\d/\w+/\w+\.wav$", re.IGNORECASE): TIMIT,
    re.compile(r"(^|/)id\d{5}/[^/]+/\d+\.\w+$|(^|/)(wav|aac)/[^/]+/[\w-]{11}/\d+\.\w+$"): VoxCeleb,
    re.compile(r"[^/]+/([^-/]+)/([^-/]+)/\1-\2-\d+\.\w+$"): LibriSpeech,
}
_CUTS = re.compile(r"cuts.*\.jsonl?$")


@dataclass(frozen=True)
class Report:
    """What a run would see of a corpus.

    Attributes:
        corpus: Its class and settings.
        usable: Utterances that nothing is wrong with.
        seconds: Their lengths, in the same order.
        formats: Container, coding, sampling rate and channels -> number of usable utterances.
        enrolment: How speakers would be enrolled.
        held_out: Whom "auto" would hold out, or why it cannot.
        refused: Messages on what cannot be used.
        leaks: Messages on audio that is there twice; of such pairs one is usable, or none with different speakers.
        lost: Speakers of whom nothing is usable.
        notes: Messages on what was passed over or looks like a mistake.
    """

    corpus: str
    usable: list[Utterance]
    seconds: list[float]
    formats: Counter[str]
    enrolment: str
    held_out: str
    refused: list[str]
    leaks: list[str]
    lost: list[str]
    notes: list[str]


@dataclass(frozen=True)
class _Heard:
    seconds: float
    format: str
    digest: str
    error: str | None


def corpus_at(path: str, kind: str | None = None, **settings: Any) -> Corpus:
    """The corpus in a folder or a file.

    Args:
        path: Manifest, or root of a corpus.
        kind: Class of `voxcert.data`, one of `KINDS`; told from what is there when None.
        settings: Of the corpus, such as `channel` or `audio_root`; those that are None are left to it.

    Raises:
        ValueError: There is no such folder or file, or no such class, or it has no such setting.
    """
    if kind is not None and kind not in KINDS:
        raise ValueError(f"corpus must be one of {list(KINDS)}, got {kind!r}")
    found = KINDS[kind] if kind else _kind_of(path)
    given = {name: value for name, value in settings.items() if value is not None}
    for name, value in given.items():
        if name not in signature(found).parameters:
            raise ValueError(f"{name} must be null for {found.__name__}, which has none, got {value!r}")
    return found(path, **given)


def check_corpus(corpus: Corpus, crop_seconds: float = 3.0, num_workers: int = 1, num_enroll: int = 5) -> Report:
    """Read every utterance of a corpus.

    Args:
        corpus: Any.
        crop_seconds: Length of the central crops that would be tested, and of the pieces that would enrol.
        num_workers: Threads that read audio.
        num_enroll: Recordings (or segments) that would enrol a speaker.

    Raises:
        ValueError: The corpus as a whole cannot be read, or a number is out of range.
    """
    if not 0 < crop_seconds < math.inf or min(num_workers, num_enroll) < 1:
        raise ValueError(
            "crop_seconds must be positive and finite, num_workers and num_enroll at least 1, "
            f"got {crop_seconds}, {num_workers} and {num_enroll}"
        )
    survey = corpus.survey()
    with ThreadPoolExecutor(max_workers=num_workers) as pool:
        reading = pool.map(lambda one: _hear(one, crop_seconds), survey.utterances)
        progress = tqdm(reading, "reading", total=len(survey.utterances), unit="utterance", leave=False)
        heard = dict(zip(map(id, survey.utterances), progress, strict=True))
    good = [one for one in survey.utterances if heard[id(one)].error is None]
    pairs = _same(good, heard)
    usable = without_one_of_each(good, pairs)
    speakers = {one.speaker for one in survey.utterances}
    return Report(
        corpus=str(corpus),
        usable=usable,
        seconds=[heard[id(one)].seconds for one in usable],
        formats=Counter(heard[id(one)].format for one in usable),
        enrolment=f"{num_enroll} recordings of a speaker at most, or segments of {crop_seconds:g} s of a single one",
        held_out=_held_out(usable, crop_seconds, num_enroll),
        refused=survey.refused + [one.error for one in heard.values() if one.error is not None],
        leaks=survey.leaks + [shared_audio(*pair) for pair in pairs],
        lost=sorted(speakers - {one.speaker for one in usable}),
        notes=survey.notes,
    )


def describe(report: Report) -> str:
    """The report as text: one line for each kind of fact, and one for everything that is wrong.

    Args:
        report: As `check_corpus` makes it.
    """
    own = by_speaker(report.usable)
    counts = [len(utterances) for utterances in own.values()]
    lines = [
        report.corpus,
        _line("speakers", f"{len(own)}{_spread(counts, 'utterances', '{:g}')}"),
        _line("utterances", f"{len(report.usable)}{_spread(report.seconds, 's', '{:.1f}')}"),
        _line("hours", f"{sum(report.seconds) / 3600:.2f}"),
        _line("parts", ", ".join(_parts(report.usable)) or "none"),
        _line("formats", ", ".join(f"{name} ({count})" for name, count in report.formats.most_common())),
        _line("enrolment", report.enrolment),
        _line("held out", report.held_out),
    ]
    for title, messages in (("refused", report.refused), ("leaks", report.leaks), ("notes", report.notes)):
        lines += [_line(title, str(len(messages))), *(f"  {message}" for message in messages)]
    if report.lost:
        lines.append(_line("lost", f"{len(report.lost)} speakers of whom nothing is usable: {', '.join(report.lost)}"))
    return "\n".join(lines)


def _kind_of(path: str) -> type[Corpus]:
    if is_file(path):
        name = Path(path).name.lower()
        return Lhotse if name.endswith((".gz", ".yaml")) or _CUTS.search(name) else Manifest
    if not is_folder(path):
        raise ValueError(f"path must be an existing manifest or folder, got {shown(path)!r}")
    root = Path(path)
    if (root / "wav.scp").is_file():
        return Kaldi
    if any(root.glob("*recordings*.json*")):
        return Lhotse
    first = next((found for found in recordings(root) if isinstance(found, Path)), None)
    place = first.relative_to(root).as_posix() if first else ""
    return next((kind for layout, kind in _LAYOUTS.items() if layout.search(place)), SpeakerFolders)


def _hear(utterance: Utterance, crop_seconds: float) -> _Heard:
    """Reads an utterance whole, as training does, its central crop, as tests do, and its pieces, as enrolment does."""
    num_samples = round(crop_seconds * SAMPLE_RATE)
    try:
        waveform = utterance.load()
        check_audible(crop(waveform, num_samples), crop_name(utterance, len(waveform), num_samples))
        for piece in cut(utterance, crop_seconds):
            if piece is not utterance:
                piece.load()
        seconds = len(waveform) / SAMPLE_RATE
        return _Heard(seconds, _format(utterance.path), _digest(waveform), None)
    except AudioError as error:
        where = f"{utterance.origin}: " if utterance.origin else ""
        return _Heard(0.0, "", "", f"{where}{error}")


def _format(path: Path) -> str:
    header = soundfile.info(path)
    channels = "mono" if header.channels == 1 else f"{header.channels} channels"
    return f"{header.format} {header.subtype} {header.samplerate} Hz {channels}"


def _digest(waveform: Tensor) -> str:
    return hashlib.sha256(waveform.numpy().tobytes()).hexdigest()


def _same(good: list[Utterance], heard: dict[int, _Heard]) -> list[tuple[Utterance, Utterance]]:
    """Pairs that sound the same, in whatever container, or come from copies of a file and overlap."""
    alike: dict[str, list[Utterance]] = defaultdict(list)
    for one in good:
        alike[heard[id(one)].digest].append(one)
    pairs = [(own[0], other) for own in alike.values() for other in own[1:]]
    known = {(id(first), id(second)) for first, second in pairs}
    return pairs + [pair for pair in copies(good) if not {tuple(map(id, pair)), tuple(map(id, pair[::-1]))} & known]


def _held_out(usable: list[Utterance], crop_seconds: float, num_enroll: int) -> str:
    protocol = Protocol(num_enroll, enroll_unit="auto", segment_seconds=crop_seconds, distractors=True, seed=0)
    settings = {"num_val_speakers": "auto", "num_test_speakers": "auto", "train_parts": None, "test_parts": None}
    try:
        return f"by auto, {split_speakers(usable, protocol, **settings).note}"
    except ValueError as error:
        return str(error)


def _parts(utterances: Iterable[Utterance]) -> list[str]:
    parts: dict[str, list[Utterance]] = defaultdict(list)
    for one in utterances:
        parts[one.part].append(one)
    return [
        f"{part} ({len(by_speaker(own))} speakers, {len(own)} utterances)"
        for part, own in sorted(parts.items())
        if part
    ]


def _spread(values: list[int] | list[float], unit: str, form: str) -> str:
    if not values:
        return ""
    least, middle, most = (form.format(value) for value in (min(values), median(values), max(values)))
    return f" of {least} to {most} {unit}, half of them up to {middle}"


def _line(title: str, text: str) -> str:
    return f"{title:<11}{shown(text) if title == 'lost' else text}"
