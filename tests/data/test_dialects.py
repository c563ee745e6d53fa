import json

import pytest

from voxcert.data import Manifest


@pytest.fixture
def read(tmp_path, write_audio):
    """Write a table next to a.wav (16 kHz) and b.wav (8 kHz), and read it."""
    write_audio("a.wav")
    write_audio("b.wav", rate=8000)

    def read(text, name):
        (tmp_path / name).write_text(text, encoding="utf-8")
        return [
            (one.id, one.speaker, one.start, one.end, one.text) for one in Manifest(str(tmp_path / name)).utterances()
        ]

    return read


@pytest.mark.parametrize("name", ["nemo.json", "nemo.jsonl"])
def test_nemo(read, tmp_path, name):
    rows = [
        {"audio_filepath": "a.wav", "offset": 0.1, "duration": 0.2, "label": "anna", "text": "-"},
        {"audio_filepath": str(tmp_path / "b.wav"), "offset": 0, "duration": None, "speaker": 7, "lang": "en"},
    ]
    assert read("\n".join(map(json.dumps, rows)), name) == [
        (str(tmp_path / "b.wav"), "7", 0.0, None, ""),
        (f"a.wav@0.1-{0.1 + 0.2:g}", "anna", 0.1, pytest.approx(0.3), "-"),
    ]


def test_empty_columns_of_a_table_say_nothing(read):
    assert read('{"audio_filepath": "a.wav", "speaker": "anna", "start": null, "channel": ""}', "nemo.json") == [
        ("a.wav", "anna", 0.0, None, "")
    ]


def test_a_single_row_of_nemo(read):
    assert read('{"audio_filepath": "a.wav", "speaker": "anna"}', "one.json") == [("a.wav", "anna", 0.0, None, "")]


def test_speechbrain_csv_in_samples_of_the_file(read):
    text = "ID,duration,wav,start,stop,spk_id\nx,0.1,a.wav,1600,4800,anna\ny,0.1,$data_root/b.wav,0,2000,ben\n"
    assert read(text, "train.csv") == [("x", "anna", 0.1, 0.3, ""), ("y", "ben", 0.0, 0.25, "")]


def test_speechbrain_json(read):
    rows = {"x": {"wav": "{data_root}/a.wav", "length": 0.5, "spk_id": "anna"}, "y": {"wav": "b.wav", "spk_id": "ben"}}
    assert [row[:4] for row in read(json.dumps(rows), "train.json")] == [("x", "anna", 0, None), ("y", "ben", 0, None)]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"audio_filepath": "a.wav"}, "column 'speaker' is required"),
        ({"audio_filepath": ["a.wav"], "label": "x"}, "path must be a text"),
        ({"audio_filepath": "a.wav", "label": "x", "duration": "long"}, "duration must be a number, got 'long'"),
        ({"audio_filepath": "a.wav", "label": "x", "offset": [1], "duration": 1}, "offset must be a number"),
        ({"wav": "a.wav", "spk_id": "x", "start": "soon", "stop": 3}, "start must be a number, got 'soon'"),
        ({"wav": "none.wav", "spk_id": "x", "start": 0, "stop": 3}, "wav must be audio whose start and stop"),
        ({"audio_filepath": "a.wav", "label": "x", "start": 0.1, "end": 0.2}, "a row must say by NeMo's .*start 0.1"),
        ({"audio_filepath": "a.wav", "label": "x", "stop": 0.2}, "a row must say by NeMo's .* got stop 0.2"),
        ({"audio_filepath": "a.wav", "label": "x", "end": 0.2}, "a row must say by NeMo's .* got end 0.2"),
        ({"audio_filepath": "a.wav", "label": "x", "channel": 0}, "a row must say by NeMo's .* got channel 0"),
        ({"wav": "a.wav", "spk_id": "x", "start": 1.0, "end": 3.0}, "a row must say by speechbrain's .* got end 3.0"),
        ({"wav": "a.wav", "spk_id": "x", "offset": 1}, "a row must say by speechbrain's .* got offset 1"),
        ({"wav": "a.wav", "spk_id": "x", "channel": "1"}, "a row must say by speechbrain's .* got channel '1'"),
        ({"wav": "a.wav", "spk_id": "x", "start": "0.1", "stop": 3}, "start must be a whole number of samples"),
        ({"wav": "a.wav", "spk_id": "x", "stop": 0.3}, "stop must be a whole number of samples, got 0.3"),
        ({"wav": "none.wav", "spk_id": "x"}, "path must be an existing file"),
        ({"wav": "a.wav", "duration": 3}, "column 'speaker' is required"),
    ],
)
def test_bad_rows_are_named(read, row, reason):
    with pytest.raises(ValueError, match=f"list.jsonl:1: {reason}"):
        read(json.dumps(row), "list.jsonl")
