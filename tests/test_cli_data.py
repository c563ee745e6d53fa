import numpy as np
import pytest
import soundfile

from voxcert.cli.data import data
from voxcert.data import Manifest


@pytest.fixture
def write_audio(tmp_path):
    """Write half a second of noise to a file below tmp_path."""

    def write(name):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, np.random.default_rng(list(name.encode())).normal(0, 0.1, 8000), 16_000)

    return write


def test_a_report_and_a_manifest(write_audio, tmp_path, capsys):
    for name in ("anna/a.wav", "anna/b.wav", "ben/a.wav"):
        write_audio(f"speakers/{name}")
    data(["check", str(tmp_path / "speakers"), "--write", str(tmp_path / "clean.csv"), "--num_enroll", "2"])
    printed = capsys.readouterr().out
    assert printed.startswith("SpeakerFolders(root=")
    assert "enrolment  2 recordings of a speaker at most" in printed
    assert "3 usable utterances are listed in" in printed
    assert [one.speaker for one in Manifest(str(tmp_path / "clean.csv")).utterances()] == ["anna", "anna", "ben"]


def test_the_exit_status_tells_a_script(write_audio, tmp_path, capsys):
    write_audio("speakers/anna/a.wav")
    (tmp_path / "speakers/anna/b.wav").touch()
    with pytest.raises(SystemExit) as stopped:
        data(["check", str(tmp_path / "speakers"), "--write", str(tmp_path / "clean.jsonl")])
    assert stopped.value.code == 1
    assert "refused    1\n  " in capsys.readouterr().out
    assert len(Manifest(str(tmp_path / "clean.jsonl")).utterances()) == 1


def test_the_manifest_that_is_read_is_not_replaced(write_audio, tmp_path, capsys):
    write_audio("a.wav")
    (tmp_path / "all.csv").write_text(text := "path,speaker\na.wav,anna\nnone.wav,ben\n")
    (tmp_path / "link.csv").symlink_to("all.csv")
    for name in ("all.csv", "link.csv"):
        with pytest.raises(SystemExit, match="2"):
            data(["check", str(tmp_path / "all.csv"), "--write", str(tmp_path / name)])
        assert "must be written to another file than the one that is read, got" in capsys.readouterr().err
    assert (tmp_path / "all.csv").read_text() == text


def test_one_channel_of_opposite_phases_is_heard(tmp_path, capsys):
    sound = np.random.default_rng(0).normal(0, 0.1, 8000)
    (tmp_path / "calls" / "anna").mkdir(parents=True)
    soundfile.write(tmp_path / "calls" / "anna" / "a.wav", np.stack([sound, -sound], axis=1), 16_000)
    with pytest.raises(SystemExit, match="1"):
        data(["check", str(tmp_path / "calls")])
    assert "(channel 0 is the first)" in capsys.readouterr().out
    data(["check", str(tmp_path / "calls"), "--channel", "1"])
    assert "channel=1" in capsys.readouterr().out


def test_the_audio_of_a_manifest_may_lie_elsewhere(write_audio, tmp_path, capsys):
    write_audio("audio/a.wav")
    (tmp_path / "shortcuts.csv").write_text("path,speaker\na.wav,anna\n")  # "cuts" in its name makes it not lhotse's
    data(["check", str(tmp_path / "shortcuts.csv"), "--audio_root", str(tmp_path / "audio")])
    assert "refused    0" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="2"):
        data(["check", str(tmp_path / "shortcuts.csv"), "--channel", "0"])
    assert "error: channel must be null for Manifest, which has none, got 0" in capsys.readouterr().err


@pytest.mark.parametrize(
    "args",
    [
        ["nowhere"],
        ["x" * 5000],
        ["{tmp}", "--write", "{tmp}/x.xml"],
        ["{tmp}", "--write", "{tmp}/none/x.csv"],
        ["{tmp}", "--corpus", "Corpus"],
        ["{tmp}", "--num_workers", "0"],
        ["{tmp}", "--num_enroll", "0"],
        ["{tmp}", "--crop_seconds", "0"],
        ["{tmp}", "--crop_seconds", ".inf"],
    ],
)
def test_mistakes_are_messages(args, write_audio, tmp_path, capsys):
    write_audio("anna/a.wav")
    with pytest.raises(SystemExit) as stopped:
        data(["check", *(arg.replace("{tmp}", str(tmp_path)) for arg in args)])
    assert stopped.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("error: ")


def test_an_empty_folder_is_no_data(tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        data(["check", str(tmp_path)])
    assert stopped.value.code == 1
    assert "utterances 0\n" in capsys.readouterr().out
