import json
from inspect import signature

import pytest

from voxcert.data import TIMIT, Kaldi, LibriSpeech, Manifest, SpeakerFolders, Utterance, VoxCeleb, write_manifest


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


def test_a_manifest_is_written_as_a_whole_or_not_at_all(tmp_path, write_audio):
    path, link = tmp_path / "all.csv", tmp_path / "link.csv"
    write_manifest([Utterance("a", write_audio("a.wav"), "anna")], path)
    before = path.read_bytes()
    with pytest.raises(UnicodeEncodeError):
        write_manifest([Utterance("b", write_audio("b.wav"), "a lone \ud800")], path)
    assert path.read_bytes() == before
    link.symlink_to(path)
    write_manifest([Utterance("b", write_audio("b.wav"), "ben")], link)
    assert link.is_symlink()
    assert [one.speaker for one in Manifest(str(path)).utterances()] == ["ben"]


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
        (
            "path,speaker,part\na.wav,anna,x\na.wav,anna,y\n",
            "list.csv:3 .* listed once, this one shares audio with .*list.csv:2",
        ),
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
    with pytest.raises(ValueError, match=r"must end in .csv, .jsonl or .json, got 'list.txt'"):
        manifest("path,speaker\n", "list.txt")
    with pytest.raises(ValueError, match=r"must end in .csv, .jsonl or .json, got 'out.xml'"):
        write_manifest([], tmp_path / "out.xml")
    with pytest.raises(ValueError, match="a manifest must lie in an existing folder, got '.*none/out.csv'"):
        write_manifest([], tmp_path / "none" / "out.csv")
    with pytest.raises(ValueError, match="path must be an existing manifest, got '.*none.csv'"):
        Manifest(str(tmp_path / "none.csv")).utterances()


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        (
            "a.wav,anna,0,0.3\na.wav,anna,0.15,0.45\n",
            r"list.csv:3 \(anna, 0.15 s to 0.45 s\).*shares audio.*list.csv:2",
        ),
        ("a.wav,anna,0,0.1\na.wav,anna,0.1,0.3\na.wav,anna,0.2,0.4\n", "list.csv:4 .* shares audio with .*list.csv:3"),
        ("a.wav,anna,,\na.wav,anna,0,0.3\n", "list.csv:2 .* shares audio with .*list.csv:3"),
        ("a.wav,anna,,\nsub/../a.wav,anna,,\n", "list.csv:3 .* shares audio with .*list.csv:2"),
        ("a.wav,anna,,\n./a.wav,ben,0.2,0.3\n", "shares audio with"),
        ("a.wav,anna,,\nlink.wav,ben,,\n", "shares audio with"),
        ("a.wav,anna,,\nhard.wav,anna,,\n", "shares audio with"),
    ],
)
def test_no_audio_is_listed_twice(manifest, tmp_path, rows, reason):
    (tmp_path / "link.wav").symlink_to(tmp_path / "a.wav")
    (tmp_path / "hard.wav").hardlink_to(tmp_path / "a.wav")
    with pytest.raises(ValueError, match=reason):
        manifest("path,speaker,start,end\n" + rows)


def test_two_channels_are_two_recordings(manifest):
    found = manifest("path,speaker,channel\na.wav,anna,0\na.wav,ben,1\n")
    assert [(one.speaker, one.channel, one.id) for one in found] == [("anna", 0, "a.wav#0"), ("ben", 1, "a.wav#1")]
    with pytest.raises(ValueError, match="shares audio with"):
        manifest("path,speaker,channel\na.wav,anna,0\na.wav,ben,\n")
    with pytest.raises(ValueError, match="list.csv:2: channel must be 0 .the first., 1, ..., got 'left'"):
        manifest("path,speaker,channel\na.wav,anna,left\n")


def test_blanks_do_not_count(manifest):
    found = manifest("path, speaker ,start\na.wav , anna\u00a0,\n\n , ,\nsub/b.wav,anna ,0.1\n")
    assert [(one.speaker, one.id) for one in found] == [("anna", "a.wav"), ("anna", "sub/b.wav@0.1-")]
    assert {one.speaker for one in manifest("path,speaker\na.wav,Zo\u00eb\nsub/b.wav,Zoe\u0308\n")} == {"Zo\u00eb"}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("path,speaker,speaker\na.wav,anna,ben\n", r"list.csv:1: a column may be given once, got \['speaker'\]"),
        ("path;speaker\na.wav;anna\n", "list.csv:1: columns must be separated by commas, got 'path;speaker'"),
        ("path,speaker,start\na.wav,anna\n", "list.csv:2: a row must have 3 values, one for each column, got 2"),
        ("path,speaker\na.wav,anna,0\n", "list.csv:2: a row must have 2 values"),
        ('path,speaker\n"a.wav,anna\nsub/b.wav,ben\n', "list.csv:3: must be CSV, with quotes that are closed"),
        ("path,speaker\na.wav,\u00a0\n", "list.csv:2: (column 'speaker' is required|speaker must be a name)"),
        (f"path,speaker\n{'x' * 5000}.wav,anna\n", "list.csv:2: path must be an existing file, got .*xx...xx"),
        ("path,speaker\n\n\nnone.wav,anna\na.wav,ben\n", "list.csv:4: path must be an existing file"),
    ],
)
def test_bad_tables_are_named_by_line(manifest, text, reason):
    with pytest.raises(ValueError, match=reason):
        manifest(text)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ('{"path": "a.wav", "speaker": ["anna"]}', r"speaker must be a text or a whole number, got \['anna'\]"),
        ('{"path": "a.wav", "speaker": {"name": "anna"}}', "speaker must be a text or a whole number"),
        ('{"path": "a.wav", "speaker": true}', "speaker must be a text or a whole number, got True"),
        ('{"path": ["a.wav"], "speaker": "anna"}', "path must be a text, got"),
        ('{"path": "a.wav", "speaker": "anna", "start": [1]}', "start must be a number of seconds"),
        ('{"path": "a.wav", "speaker": "anna", "end": true}', "end must be a number of seconds, got True"),
        ('{"path": "a.wav", "speaker": "anna", "text": ["hi"]}', "text must be a text"),
        ('{"path": "a.wav", "speaker": "anna", "speaker": "ben"}', r"a line .* once, got \['speaker'\]"),
        ('{"path": "a.wav", "speaker": "jos\\udce9"}', "a name must be UTF-8 text"),
        ("[1, 2]", "a line must be a JSON object"),
        ("[" * 100_000, "a line must be a JSON object"),
        ("NaN", "a line must be a JSON object"),
    ],
)
def test_bad_values_are_named_by_line(manifest, row, reason):
    with pytest.raises(ValueError, match=f"list.jsonl:2: {reason}"):
        manifest('{"path": "sub/b.wav", "speaker": "ben"}\n' + row, "list.jsonl")


def test_all_that_is_wrong_is_counted(manifest):
    with pytest.raises(ValueError, match=r"list.csv:2: path must .*\(and 2 more: `voxcert data check` lists all\)"):
        manifest("path,speaker\nx.wav,anna\ny.wav,ben\na.wav,\n")


def test_other_encodings_are_named(tmp_path, write_audio):
    write_audio("a.wav")
    (tmp_path / "list.csv").write_bytes("path,speaker\na.wav,José\n".encode("latin-1"))
    with pytest.raises(ValueError, match="list.csv:2: a text file must be UTF-8, got the byte 0xe9"):
        Manifest(str(tmp_path / "list.csv")).utterances()


def test_a_path_of_5000_characters_is_no_manifest():
    with pytest.raises(ValueError, match="path must be an existing manifest, got 'xx.*xx.csv'"):
        Manifest("x" * 5000 + ".csv").utterances()


def test_names_that_differ_in_case_are_noted(manifest):
    with pytest.warns(UserWarning, match=r"speakers \['Anna', 'anna'\] differ in case alone"):
        assert len(manifest("path,speaker\na.wav,anna\nsub/b.wav,Anna\n")) == 2


def test_relative_paths_may_start_elsewhere(tmp_path, write_audio):
    write_audio("audio/a.wav")
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "all.csv").write_text("path,speaker\na.wav,anna\n")
    (found,) = Manifest(str(tmp_path / "lists" / "all.csv"), audio_root=str(tmp_path / "audio")).utterances()
    assert (found.id, len(found.load())) == ("a.wav", 8000)


def test_a_manifest_takes_no_setting_of_the_corpus_it_replaces():
    """The command line hands arguments of the same name on when a config's class is exchanged."""
    for kind in (LibriSpeech, SpeakerFolders, VoxCeleb, TIMIT, Kaldi):
        assert not set(signature(kind).parameters) & set(signature(Manifest).parameters)
