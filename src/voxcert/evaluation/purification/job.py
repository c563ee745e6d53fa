"""Purifies audio files: the same names in another folder, one after the other, to be continued after a kill.

A file that cannot be purified becomes a row that says why, without a result, and the job goes on.
"""

import os
import time
import warnings
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import torch

from voxcert.data.audio import SAMPLE_RATE, load
from voxcert.data.files import READABLE, PassedOver, counted, recordings
from voxcert.data.paths import is_file, is_folder, printable, shown
from voxcert.data.same_audio import content_hash
from voxcert.encoders.loading import encoder_hash
from voxcert.evaluation.purification.pieces import purify_long
from voxcert.evaluation.purification.places import claim_places
from voxcert.evaluation.purification.row import PurifiedRow
from voxcert.evaluation.purification.settings import PurifySettings
from voxcert.evaluation.run.audio_files import write_rounded
from voxcert.evaluation.run.folder import LONGEST_ON_DISK, file_name, write_config
from voxcert.evaluation.run.job import UNKNOWN, Provenance, Task, do_tasks, seed_of, started
from voxcert.evaluation.run.processes import at_hand
from voxcert.evaluation.run.tasks import row_files
from voxcert.purifiers.base import Purifier
from voxcert.purifiers.hearing import Aud2Vec, words_hash
from voxcert.rows import read_rows


def purify_files(
    purifier: Purifier,
    settings: PurifySettings,
    provenance: Provenance = UNKNOWN,
    *,
    listener: Aud2Vec | None = None,
) -> list[PurifiedRow]:
    """Purifies files; those that the folder has already are left as they are, those that failed are tried again.

    Args:
        purifier: Any, in eval mode.
        settings: Files, folder, seed.
        provenance: What made the purifier and the listener.
        listener: Tells a purifier that reads what is said; None tells it nothing.

    Returns:
        One row per file, in order of name.

    Raises:
        ValueError: If there are no files, two would get one name, one or any other file would be overwritten, or the
            folder holds a run with other settings or weights.
    """
    own = encoder_hash(purifier)
    if settings.purifier_hash not in (None, own):
        raise ValueError(f"purifier_hash must be {settings.purifier_hash}, got {own}")
    words = None if listener is None else words_hash(listener.embedder, listener.transcriber)
    if settings.words_hash not in (None, words):
        raise ValueError(f"words_hash must be {settings.words_hash}, got {words}")
    files, folder = find_files(settings.inputs, settings.output_dir), Path(settings.output_dir)
    config = provenance.origin | asdict(settings) | {"purifier_hash": own, "words_hash": words}
    config |= {"accelerator": at_hand(settings.accelerator)}
    del config["inputs"]  # more files may be purified into the same folder
    with started(folder, config, None, settings.accelerator) as fabric:
        purifier = purifier.to(fabric.device).eval()
        listener = None if listener is None else listener.to(fabric.device)
        kept = [row for path in row_files(folder) for row in read_rows(path, PurifiedRow)]
        claim_places(folder, files.values(), kept, fabric.is_global_zero)
        names = {source: printable(str(source)) for source in files}
        contents = {names[source]: content_hash(source) for source in files}
        places = {names[source]: place for source, place in files.items()}

        def is_done(row: PurifiedRow) -> bool:
            unchanged = row.content == contents.get(row.file, row.content)
            in_place = row.output == places.get(row.file, row.output)
            return row.failed is None and unchanged and in_place and (folder / row.output).is_file()

        made = {row.output: row.file for row in kept if is_done(row)}
        for source, place in files.items():
            if made.get(place, names[source]) != names[source]:
                raise ValueError(f"output_dir {folder} has {place} of {made[place]} already, got {source} for it")
        write_config(folder, config)
        rows = do_tasks(
            [Task(source, ((names[source],),)) for source in files],
            lambda source: [
                replace(
                    _purify_file(purifier, source, files[source], settings, listener, fabric.device),
                    content=contents[names[source]],
                )
            ],
            PurifiedRow,
            folder,
            fabric,
            verb="purifying",
            unit="file",
            note=lambda source, rows: _failures_so_far(rows),
            counts=is_done,
        )
        return list(rows)


def find_files(inputs: Sequence[str], output_dir: str) -> dict[Path, str]:
    """The files to purify, each with its place in the output folder; those in the output folder are left out.

    Folders are searched as those of a corpus are: what looks like audio and is not read is counted in a warning.

    Args:
        inputs: Files and folders.
        output_dir: Where the results go.

    Raises:
        ValueError: If there is none, two would get one name, or one would be overwritten.
    """
    found: dict[Path, str] = {}
    passed: list[PassedOver] = []
    home = Path(output_dir).resolve()
    for given in map(Path, inputs):
        if is_folder(given):
            inside = sorted((one for one in recordings(given) if home not in _path(one).resolve().parents), key=_path)
            passed += [one for one in inside if isinstance(one, PassedOver)]
            found |= {path: _place(path.relative_to(given)) for path in inside if isinstance(path, Path)}
        else:
            found[given] = _place(Path(given.name))  # a missing one becomes a row
    for note in counted(passed):
        warnings.warn(printable(note), stacklevel=2)
    if not found:
        raise ValueError(f"inputs must hold audio files ({', '.join(READABLE)}), got none in {', '.join(inputs)}")
    taken: dict[str, Path] = {}
    for source, place in found.items():
        if place in taken:
            raise ValueError(f"inputs must differ in name, got {taken[place]} and {shown(source)}, both for {place}")
        if is_file(source) and (home / place) == source.resolve():
            raise ValueError(
                f"output_dir must be another folder than that of the inputs, got {output_dir} for {source}"
            )
        taken[place] = source
    return found


def _failures_so_far(rows: Sequence[PurifiedRow]) -> str:
    num_failed = sum(row.failed is not None for row in rows)
    return f"{num_failed} failed" if num_failed else ""


@torch.no_grad()
def _purify_file(
    purifier: Purifier,
    source: Path,
    place: str,
    settings: PurifySettings,
    listener: Aud2Vec | None,
    device: torch.device,
) -> PurifiedRow:
    start, path = time.perf_counter(), Path(settings.output_dir) / place
    try:
        waveform = load(source).to(device)
        torch.manual_seed(seed_of(settings.seed, printable(source.name)))
        said, text = (None, None) if listener is None else listener.hear(waveform)
        told = None if text is None else text[None].to(device)
        purified = purify_long(purifier, waveform, told, round(settings.chunk_seconds * SAMPLE_RATE))
        if not purified.isfinite().all():
            raise ValueError("what the purifier returned is not finite")
    except (ValueError, torch.OutOfMemoryError) as error:
        if is_file(path):  # of this file as it was, since places are claimed
            path.unlink()
        return PurifiedRow(printable(str(source)), None, failed=str(error), seconds=time.perf_counter() - start)
    draft = path.with_name(f".draft-{os.getpid()}{path.suffix}")
    change = (write_rounded(draft, purified) - waveform).double()
    draft.replace(path)
    ratio = 10 * torch.log10(waveform.double().square().sum() / change.square().sum())
    return PurifiedRow(
        file=printable(str(source)),
        output=place,
        text=said,
        duration=len(waveform) / SAMPLE_RATE,
        change_db=ratio.item() if ratio.isfinite() else None,
        seconds=time.perf_counter() - start,
    )


def _path(found: Path | PassedOver) -> Path:
    return found.path if isinstance(found, PassedOver) else found


def _place(path: Path) -> str:
    """The same path, as WAV or FLAC; a part that is too long for a disk gets a name with a hash instead."""
    ending = path.suffix.lower() if path.suffix.lower() in (".wav", ".flac") else ""
    *folders, name = (path if ending else path.with_suffix(".flac")).parts
    return "/".join([*(_on_disk(folder) for folder in folders), _on_disk(name, ending or ".flac")])


def _on_disk(name: str, ending: str = "") -> str:
    fits = len(name.encode(errors="surrogatepass")) <= LONGEST_ON_DISK
    return name if fits else file_name(name) + ending
