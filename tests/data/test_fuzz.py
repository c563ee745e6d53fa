"""Damaged files and tables: whatever is done to them, every item is audio or an error that names it."""

import json
import random
import struct
import traceback
import warnings
from pathlib import Path

import numpy as np
import pytest
import soundfile

from voxcert.data import AudioError, Manifest, Utterance
from voxcert.data.audio import duration
from voxcert.data.datasets import NamedCrops

SOURCES = {
    "a.wav": {},
    "f.wav": {"subtype": "FLOAT"},
    "u.wav": {"subtype": "ULAW"},
    "a.flac": {},
    "a.ogg": {},
    "a.opus": {"format": "OGG", "subtype": "OPUS"},
    "a.mp3": {},
    "v.mp3": {"bitrate_mode": "VARIABLE"},
    "a.aiff": {},
    "a.au": {},
    "a.sph": {"format": "NIST"},
    "a.caf": {},
    "a.w64": {},
    "a.voc": {},
}
NUM_AUDIO, NUM_TABLES = 500, 200


def damaged(data: bytes, draw: random.Random) -> bytes:
    """Data after one or more of: cut off, bits flipped, a header field overwritten, a piece moved, junk added."""
    data = bytearray(data)
    for _ in range(draw.choice([1, 1, 2, 4])):
        kind = draw.choice(["cut", "bits", "header", "field", "piece", "junk"])
        place = draw.randrange(max(1, len(data)))
        if kind == "cut":
            data = data[:place]
        elif kind == "bits":
            for _ in range(draw.choice([1, 10, 100])):
                if data:
                    data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        elif kind == "header" and len(data) > 64:
            data[draw.randrange(64)] = draw.randrange(256)
        elif kind == "field" and len(data) > 64:
            value = draw.choice([0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, draw.randrange(1 << 32)])
            start = draw.randrange(60)
            data[start : start + 4] = struct.pack(draw.choice("<>") + "I", value)
        elif kind == "piece":
            del data[place : place + draw.randrange(1, 5000)]
        else:
            data[place:place] = draw.randbytes(draw.randrange(1, 2000))
    return bytes(data)


def usable(waveform, samples):
    on_grid = (waveform * 2**20 == (waveform * 2**20).round()).all()
    return waveform.shape == (samples,) and waveform.abs().max() <= 1 and waveform.std() > 0 and on_grid


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """Half a second of tones in many formats, as bytes."""
    folder = tmp_path_factory.mktemp("sources")
    times = np.arange(8000) / 16_000
    samples = 0.3 * np.sin(2 * np.pi * 300 * times) + 0.1 * np.sin(2 * np.pi * 1700 * times)
    for name, settings in SOURCES.items():
        soundfile.write(folder / name, samples, 16_000, **settings)
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_damaged_audio_is_read_or_named(sources, tmp_path):
    read = 0
    for seed in range(NUM_AUDIO):
        draw = random.Random(f"audio/{seed}")
        name = draw.choice(sorted(sources))
        path = tmp_path / f"{seed}_{name}"
        path.write_bytes(damaged(sources[name], draw))
        item = NamedCrops([Utterance(path.name, path, "anna")], 4000, report_bad=True)[0]
        if "error" in item:
            assert item["error"].startswith(f"{path}: "), item["error"]
            with pytest.raises(AudioError):
                NamedCrops([Utterance(path.name, path, "anna")], 4000)[0]
        else:
            assert usable(item["waveform"], 4000), path.name
            assert duration(path) >= 0.1
            read += 1
    assert 0 < read < NUM_AUDIO


ROWS = [
    {"path": "a.wav", "speaker": "anna", "start": 0.0, "end": 0.2, "text": "Well, hello", "part": "train"},
    {"path": "a.wav", "speaker": "anna", "start": 0.2, "end": 0.4, "text": "", "part": "test"},
    {"path": "b.flac", "speaker": "zoë", "start": 0.0, "end": 0.4, "text": 'so "called"', "part": "test"},
]


def table(suffix: str, draw: random.Random) -> bytes:
    """A manifest with values and structure changed, as bytes in some encoding."""
    values = ["", " ", "nan", "-1", "1e999", "\u00a0", "x" * 5000, "a\0b", "../a.wav", ["a"], {}, None, True, 10**400]
    rows = [dict(row) for row in ROWS]
    for _ in range(draw.choice([0, 1, 2])):
        rows[draw.randrange(3)][draw.choice([*ROWS[0], "spaeker", " path"])] = draw.choice(values)
    draw.shuffle(rows)
    if suffix == "csv":
        header = draw.choice([list(ROWS[0]), ["path", "speaker"], [*ROWS[0], "path"]])
        text = "\n".join([draw.choice([",", ",", ", ", ";"]).join(header)] + [_line(row, header) for row in rows])
    else:
        text = "\n".join(json.dumps(row, ensure_ascii=draw.random() < 0.5) for row in rows)
    data = text.encode(draw.choice(["utf-8", "utf-8", "utf-8-sig", "utf-16", "cp1252"]), errors="replace")
    return damaged(data, draw) if draw.random() < 0.5 else data


def read_table(path):
    """Its utterances, or the ValueError; anything else is a fault of ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return Manifest(str(path)).utterances(), None
        except ValueError as error:
            return [], error


def _line(row, header):
    return ",".join('"' + str(row.get(name, "")).replace('"', '""') + '"' for name in header)


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "json"])
def test_damaged_tables_are_read_or_named(sources, tmp_path, suffix):
    for name in ("a.wav", "a.flac"):
        (tmp_path / name.replace("a.flac", "b.flac")).write_bytes(sources[name])
    read = 0
    for seed in range(NUM_TABLES):
        draw = random.Random(f"table/{seed}")
        path = tmp_path / f"{seed}.{suffix}"
        path.write_bytes(table(suffix, draw))
        utterances, error = read_table(path)
        if error is not None:
            assert str(path) in str(error), error
            assert (
                Path(traceback.extract_tb(error.__traceback__)[-1].filename).parent.name == "data"
            )  # a message of ours
            str(error).encode("utf-8")
            continue
        crops = NamedCrops(utterances, 1600, report_bad=True)
        for index, one in enumerate(utterances):
            item = crops[index]
            assert one.speaker == " ".join(one.speaker.split()) != ""
            assert usable(item["waveform"], 1600) if "error" not in item else str(one.path.name) in item["error"]
        read += 1
    assert 0 < read < NUM_TABLES
