import json

import pytest

from voxcert.data import Manifest, Utterance, write_manifest


@pytest.fixture
def manifest(tmp_path, write_audio):
    """Write a manifest next to a.wav and b.wav, and read it."""
    write_audio("a.wav")
    write_audio("sub/b.wav")

    def read(text, name="list.csv"):
        (tmp_path / name).write_text(text, encoding="utf-8")
        return Manifest(str(tmp_path / name)).utterances()

    return read


def test_csv(manifest, tmp_path):
    found = manifest('speaker,path,start,end,text\nanna,a.wav,,,"Well, hello"\n0012,sub/b.wav,0.1,0.3,\n')
    assert found == [
        Utterance("a.wav", tmp_path / "a.wav", "anna", text="Well, hello"),
        Utterance("sub/b.wav@0.1-0.3", tmp_path / "sub/b.wav", "0012", 0.1, 0.3),
    ]
    assert found[1].load().shape == (3200,)


def test_json_lines(manifest, tmp_path):
    rows = [
        {"path": "a.wav", "speaker": "zoë", "start": 0.1, "id": "x", "part": "train"},
        {"path": str(tmp_path / "sub/b.wav"), "speaker": 12, "end": None},
    ]
    found = manifest("\n\n".join(json.dumps(row) for row in rows), "list.jsonl")
    assert [(one.id, one.speaker, one.start, one.end, one.part) for one in found] == [
        (str(tmp_path / "sub/b.wav"), "12", 0.0, None, ""),
        ("x", "zoë", 0.1, None, "train"),
    ]


def test_one_file_may_hold_several_speakers(manifest):
    found = manifest("path,speaker,start,end\na.wav,anna,0,0.2\na.wav,ben,0.2,0.4\n")
    assert [one.speaker for one in found] == ["anna", "ben"]


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_what_is_written_is_read_back(tmp_path, write_audio, ending):
    utterances = [
        Utterance("a", write_audio("x/a.wav"), "anna", 0.1, 0.4, 'so "called", they said', "train"),
        Utterance("b", write_audio("y/b.wav"), "zoë"),
    ]
    (tmp_path / "lists").mkdir()
    path = tmp_path / "lists" / f"all.{ending}"
    write_manifest(utterances, path)
    assert str(tmp_path) not in path.read_text("utf-8")
    found = Manifest(str(path)).utterances()
    assert [(one.path.resolve(), one.text, one.start, one.end, one.part) for one in found] == [
        (one.path, one.text, one.start, one.end, one.part) for one in utterances
    ]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("path,speaker\nnone.wav,anna\n", "list.csv:2: path must be an existing file, got .*none.wav"),
        ("path,spaeker\na.wav,anna\n", r"list.csv:2: columns must be among .* got \['spaeker'\]"),
        ("path\na.wav\n", r"list.csv:2: column 'speaker' is required, got \['path'\]"),
        ("path,speaker\na.wav,\n", "column 'speaker' is required"),
        ("path,speaker,start,end\na.wav,anna,2,1\n", r"0 <= start < end, got start 2.0 and end 1.0"),
        ("path,speaker,start,end\na.wav,anna,nan,\n", r"0 <= start < end, got start nan"),
        ("path,speaker,start,end\na.wav,anna,soon,\n", "start must be a number of seconds, got 'soon'"),
        ("path,speaker,part\na.wav,anna,x\na.wav,anna,y\n", "list.csv:3: .* listed once, this one is on line 2 too"),
        ("path,speaker,id\na.wav,anna,x\nsub/b.wav,anna,x\n", "ids must be unique, got 1 repeated, such as 'x'"),
        ("path,speaker\n", "no utterances found"),
    ],
)
def test_bad_rows_are_named(manifest, text, reason):
    with pytest.raises(ValueError, match=reason):
        manifest(text)


def test_bad_manifests_are_named(manifest, tmp_path):
    with pytest.raises(ValueError, match=r"list.jsonl:1: a line must be a JSON object"):
        manifest("path,speaker\n", "list.jsonl")
    with pytest.raises(ValueError, match=r"must end in .csv or .jsonl, got 'list.txt'"):
        manifest("path,speaker\n", "list.txt")
    with pytest.raises(ValueError, match=r"must end in .csv or .jsonl, got 'out.xml'"):
        write_manifest([], tmp_path / "out.xml")
    with pytest.raises(ValueError, match="path must be an existing manifest, got '.*none.csv'"):
        Manifest(str(tmp_path / "none.csv")).utterances()
