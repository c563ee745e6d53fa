"""Purifies audio files: the same names in another folder, one after the other, to be continued after a kill.

A file that cannot be purified becomes a row that says why, and the job goes on.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from math import isfinite
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from tqdm import tqdm

from voxcert.data.audio import SAMPLE_RATE, load
from voxcert.data.corpora import READABLE
from voxcert.encoders.loading import encoder_hash
from voxcert.evaluation.devices import launch
from voxcert.evaluation.json_rows import JsonRow, read_json_rows, rewrite_json_rows
from voxcert.evaluation.kept_audio import write_rounded
from voxcert.evaluation.run_folder import ROWS, check_settings, open_rows, write_config
from voxcert.evaluation.seeds import seed_of
from voxcert.purifiers.base import Purifier
from voxcert.purifiers.conditioning import Aud2Vec

OVERLAP_SECONDS = 0.25


@dataclass(frozen=True)
class PurifySettings:
    """What is purified, and where the results go.

    Args:
        inputs: Audio files, and folders that hold some, of any format, sampling rate and channel count.
        output_dir: Folder for the purified files, 16 kHz mono with 16 bits: .wav stays WAV, anything else becomes FLAC.
            A file of an input folder keeps its path in there. Beside them rows.jsonl and config.yaml; a run that was
            killed continues here.
        chunk_seconds: Longer recordings are purified in pieces of this length, which overlap and fade into each other.
        seed: Of the noise of a purifier that draws some anew.
        purifier_hash: Refuse other weights; the config.yaml of a run holds those it had.
        accelerator: Where to compute; auto takes CUDA where it is at hand.

    Raises:
        ValueError: If there is no input, or the pieces are too short.
    """

    inputs: list[str]
    output_dir: str
    chunk_seconds: float = 30.0
    seed: int = 0
    purifier_hash: str | None = None
    accelerator: Literal["auto", "cpu", "cuda"] = "auto"

    def __post_init__(self) -> None:
        if not self.inputs:
            raise ValueError("inputs must name at least one file or folder, got none")
        if not isfinite(self.chunk_seconds) or self.chunk_seconds <= 2 * OVERLAP_SECONDS:
            raise ValueError(f"chunk_seconds must be finite and above {2 * OVERLAP_SECONDS}, got {self.chunk_seconds}")


@dataclass(frozen=True)
class PurifiedRow(JsonRow):
    """What became of one file.

    Attributes:
        file: The input.
        output: What was written, relative to the output folder; None where that failed.
        failed: None, or why nothing was.
        text: What the transcriber heard; None without one.
        duration: Of the audio, in seconds.
        change_db: Power of the input over that of the change, 10 log10; None if nothing was changed or it failed.
        seconds: What it took.
    """

    file: str
    output: str | None
    failed: str | None = None
    text: str | None = None
    duration: float = 0.0
    change_db: float | None = None
    seconds: float = 0.0


def purify_files(
    purifier: Purifier,
    settings: PurifySettings,
    *,
    listener: Aud2Vec | None = None,
    origin: dict[str, Any] | None = None,
) -> list[PurifiedRow]:
    """Purifies files; those that the folder has already are left as they are, those that failed are tried again.

    Args:
        purifier: Any, in eval mode.
        settings: Files, folder, seed.
        listener: Tells a purifier that reads what is said; None tells it nothing.
        origin: What made the purifier and the listener, as plain values: kept in config.yaml, compared on a restart.

    Returns:
        One row per file, in order of name.

    Raises:
        ValueError: If there are no files, two would get one name, one would be overwritten, or the folder holds a run
            with other settings or weights.
    """
    own = encoder_hash(purifier)
    if settings.purifier_hash not in (None, own):
        raise ValueError(f"purifier_hash must be {settings.purifier_hash}, got {own}")
    files = find_files(settings.inputs, settings.output_dir)
    config = (origin or {}) | asdict(settings) | {"purifier_hash": own}
    check_settings(settings.output_dir, {name: value for name, value in config.items() if name != "inputs"})
    device = launch(settings.accelerator, 1, 1).device
    purifier = purifier.to(device).eval()
    listener = None if listener is None else listener.to(device)
    folder = Path(settings.output_dir)
    write_config(folder, {name: value for name, value in config.items() if name != "inputs"})
    rows = [
        row
        for row in read_json_rows(folder / ROWS, PurifiedRow)
        if row.failed is None and (folder / row.output).is_file()
    ]
    done = {row.file: row for row in rows}
    made = {row.output: row.file for row in rows}
    for source, place in files.items():
        if made.get(place, str(source)) != str(source):
            raise ValueError(f"output_dir {folder} has {place} of {made[place]} already, got {source} for it")
    rewrite_json_rows(folder / ROWS, rows)
    todo = [source for source in files if str(source) not in done]
    progress = tqdm(todo, "purifying", initial=len(files) - len(todo), total=len(files), unit="file")
    with closing(open_rows(folder, rank=0)) as writer:
        for source in progress:
            row = _purify_file(purifier, source, files[source], settings, listener, device)
            writer.write([row])
            done[row.file] = row
            num_failed = sum(row.failed is not None for row in done.values())
            progress.set_postfix_str(f"{num_failed} failed" if num_failed else "")
    return [done[str(source)] for source in files]


def find_files(inputs: Sequence[str], output_dir: str) -> dict[Path, str]:
    """The files to purify, each with its place in the output folder; those in the output folder are left out."""
    found: dict[Path, str] = {}
    home = Path(output_dir).resolve()
    for given in map(Path, inputs):
        if given.is_dir():
            inside = sorted(path for path in given.rglob("*") if path.suffix.lower() in READABLE)
            found |= {path: _place(path.relative_to(given)) for path in inside if home not in path.resolve().parents}
        else:
            found[given] = _place(Path(given.name))  # a missing one becomes a row
    if not found:
        raise ValueError(f"inputs must hold audio files ({', '.join(READABLE)}), got none in {', '.join(inputs)}")
    taken: dict[str, Path] = {}
    for source, place in found.items():
        if place in taken:
            raise ValueError(f"inputs must differ in name, got {taken[place]} and {source}, both for {place}")
        if (home / place) == source.resolve():
            raise ValueError(
                f"output_dir must be another folder than that of the inputs, got {output_dir} for {source}"
            )
        taken[place] = source
    return found


def purify_long(purifier: Purifier, waveform: Tensor, text: Tensor | None, chunk_samples: int) -> Tensor:
    """Purifies a waveform of any length piece by piece.

    Args:
        purifier: Any.
        waveform: Shape (time,).
        text: Shape (1, 768), for all pieces, or None.
        chunk_samples: Longest piece. Pieces overlap by `OVERLAP_SECONDS` and fade linearly into each other.

    Returns:
        Shape (time,).
    """
    overlap = round(OVERLAP_SECONDS * SAMPLE_RATE)
    output, weight = torch.zeros_like(waveform), torch.zeros_like(waveform)
    for start, stop in _pieces(len(waveform), chunk_samples, overlap):
        ramp = torch.ones(stop - start, device=waveform.device)
        rise = torch.arange(1, overlap + 1, device=waveform.device) / (overlap + 1)
        if start > 0:
            ramp[:overlap] = rise
        if stop < len(waveform):
            ramp[-overlap:] = rise.flip(0)
        output[start:stop] += ramp * purifier(waveform[None, start:stop], text)[0]
        weight[start:stop] += ramp
    return output / weight


def _pieces(length: int, longest: int, overlap: int) -> Iterator[tuple[int, int]]:
    """Equal pieces, none longer than `longest`, neighbours sharing `overlap` samples."""
    count = max(1, -(-(length - overlap) // (longest - overlap)))
    step = -(-(length - overlap) // count)
    for number in range(count):
        start = number * step
        yield start, length if number == count - 1 else start + step + overlap


@torch.no_grad()
def _purify_file(
    purifier: Purifier,
    source: Path,
    place: str,
    settings: PurifySettings,
    listener: Aud2Vec | None,
    device: torch.device,
) -> PurifiedRow:
    start = time.perf_counter()
    try:
        waveform = load(source).to(device)
        torch.manual_seed(seed_of(settings.seed, source.name))
        said, text = (None, None) if listener is None else listener.hear(waveform)
        told = None if text is None else text[None].to(device)
        purified = purify_long(purifier, waveform, told, round(settings.chunk_seconds * SAMPLE_RATE))
        if not purified.isfinite().all():
            raise ValueError("what the purifier returned is not finite")
    except (ValueError, torch.OutOfMemoryError) as error:
        return PurifiedRow(str(source), None, failed=str(error), seconds=time.perf_counter() - start)
    path = Path(settings.output_dir) / place
    draft = path.with_name(f".{path.stem}.draft{path.suffix}")
    change = (write_rounded(draft, purified) - waveform).double()
    draft.replace(path)
    ratio = 10 * torch.log10(waveform.double().square().sum() / change.square().sum())
    return PurifiedRow(
        file=str(source),
        output=place,
        text=said,
        duration=len(waveform) / SAMPLE_RATE,
        change_db=ratio.item() if ratio.isfinite() else None,
        seconds=time.perf_counter() - start,
    )


def _place(path: Path) -> str:
    return path.as_posix() if path.suffix.lower() in (".wav", ".flac") else path.with_suffix(".flac").as_posix()
