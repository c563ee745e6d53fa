"""Makes the two corpora behind the numbers of these pages from the published ones, and checks every sample of them.

    python docs/cut_corpora.py librispeech-mini path/to/LibriSpeech data/librispeech
    python docs/cut_corpora.py speechocean-adults path/to/speechocean762 data/speechocean-adults

`docs/corpora` lists the files of either: name, number of samples, and a hash of the samples. The cut of LibriSpeech
(OpenSLR 12) needs its parts train-clean-100 and test-other; the adults are those of speechocean762 (OpenSLR 101).
"""

import argparse
import csv
import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path

import soundfile
from tqdm import tqdm

from voxcert.data.audio import SAMPLE_RATE

LISTS = Path(__file__).parent / "corpora"


def cut(name: str, source: Path, target: Path) -> list[str]:
    """Writes the files of a list that are not there yet, and the transcripts or the manifest that go with them.

    Args:
        name: Of the list in docs/corpora.
        source: Folder of the published corpus, with a file of the same name somewhere below it for each in the list.
        target: Folder of the new one. What is there already is checked and stays.

    Returns:
        What is wrong: a line for each file that is not there or has other samples; nothing if the corpus is whole.
    """
    lines = list(csv.DictReader((LISTS / f"{name}.csv").read_text().splitlines()))
    published = {path.stem: path for path in source.rglob("*") if path.suffix.lower() in (".flac", ".wav")}
    wrong = [problem for line in tqdm(lines, unit="file") for problem in _cut_one(line, published, target)]
    if "text" in lines[0]:
        with (target / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
            columns = ["path", "speaker", "text", "part"]
            writer = csv.DictWriter(file, columns, extrasaction="ignore", lineterminator="\n")
            writer.writeheader()
            writer.writerows(lines)
    else:
        _copy_transcripts([Path(line["path"]) for line in lines], published, target)
    return wrong


def _cut_one(line: dict[str, str], published: dict[str, Path], target: Path) -> Iterator[str]:
    place = target / line["path"]
    found = place if place.is_file() else published.get(place.stem)
    if found is None:
        yield f"{line['path']}: is not there"
        return
    try:
        count = -1 if found is place else int(line["samples"])  # what is there already must be no longer either
        samples, rate = soundfile.read(found, frames=count, dtype="int16")
    except soundfile.LibsndfileError as error:
        yield f"{line['path']}: {error}"
        return
    if rate != SAMPLE_RATE or hashlib.sha256(samples.astype("<i2").tobytes()).hexdigest()[:16] != line["sha256"]:
        yield f"{line['path']}: {found} has other samples than those that these pages are about"
        return
    if found is not place:
        place.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(place, samples, SAMPLE_RATE, subtype="PCM_16")


def _copy_transcripts(places: list[Path], published: dict[str, Path], target: Path) -> None:
    """Those of test-other; recordings of train-clean-100 are cut, so their transcripts say more than is heard."""
    for folder in sorted({place.parent for place in places if place.parts[0] == "test-other"}):
        names = {place.stem for place in places if place.parent == folder}
        file = f"{folder.parts[-2]}-{folder.name}.trans.txt"
        beside = {published[name].parent / file for name in names & set(published)}
        lines = [line for path in beside if path.is_file() for line in path.read_text().splitlines()]
        kept = [line for line in lines if line.split(" ", 1)[0] in names]
        if kept and not (target / folder / file).exists():
            (target / folder / file).write_text("\n".join(kept) + "\n")


def main(arguments: list[str] | None = None) -> None:
    """Cuts one corpus; exit status 1 if it is not whole."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=sorted(path.stem for path in LISTS.glob("*.csv")))
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    given = parser.parse_args(arguments)
    if not given.source.is_dir():
        parser.error(f"source must be the folder of the published corpus, got {given.source}")
    given.target.mkdir(parents=True, exist_ok=True)
    if wrong := cut(given.name, given.source, given.target):
        sys.exit("\n".join([*wrong, f"{len(wrong)} files are missing or differ; {given.target} is not whole"]))


if __name__ == "__main__":
    main()
