"""`voxcert identify` and `voxcert verify` on the run that `certify` made."""

import io
import json
import os
import shutil

import numpy as np
import pytest
import soundfile
import torch
import yaml

from voxcert.cli import main
from voxcert.cli.certify import certify


@pytest.fixture(scope="module")
def run(checkpoint, tmp_path_factory):
    """A certification run on three voices, and their recordings."""
    folder = tmp_path_factory.mktemp("recognize")
    time, generator = torch.arange(8000) / 16000, torch.Generator().manual_seed(0)
    for number in range(3):
        for take in range(3):
            tone = sum(torch.sin(2 * torch.pi * (90 + 60 * number) * k * time) / k for k in range(1, 20))
            path = folder / "voices" / f"speaker{number}" / f"{take}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, (0.05 * tone + 0.005 * torch.randn(8000, generator=generator)).numpy(), 16000)
    corpus = {"class_path": "voxcert.data.SpeakerFolders", "init_args": {"root": str(folder / "voices")}}
    settings = {
        "checkpoint": str(checkpoint),
        "output_dir": str(folder / "run"),
        "sigma": 0.003,
        "num_select": 8,
        "num_estimate": 64,
        "batch_size": 16,
        "accelerator": "cpu",
        "data": {"corpus": corpus, "num_test_speakers": 3, "num_enroll": 1, "crop_seconds": 0.4},
    }
    (folder / "certify.yaml").write_text(yaml.safe_dump(settings))
    certify(["--config", str(folder / "certify.yaml")])
    return folder


def lines(capsys):
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_identify_prints_a_line_for_every_recording(run, capsys, monkeypatch):
    good, bad = run / "voices/speaker1/2.wav", run / "bad.wav"
    bad.write_bytes(b"")
    capsys.readouterr()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(f"{good}\n\n".encode())))
    main(["identify", str(good), str(bad), "-", "--run", str(run / "run"), "--seed", "0"])
    first, second, third = lines(capsys)
    assert first["recording"] == third["recording"] == str(good)
    assert first["prediction"] in ("speaker1", None)
    assert 0.5 < first["score"] <= 1
    assert first["num_forwards"] >= 24
    assert "empty" in second["error"]
    assert not {"seed", "utterance"} & first.keys(), "the noise is a secret"


def test_status_1_says_that_no_recording_could_be_read(run, capsys):
    (run / "empty.wav").write_bytes(b"")
    capsys.readouterr()
    with pytest.raises(SystemExit, match="1"):
        main(["identify", *[str(run / "empty.wav")] * 2, "--run", str(run / "run")])
    assert all("empty" in line["error"] for line in lines(capsys))


def test_a_name_that_is_no_utf_8_is_a_line_that_says_so(run, capsys, monkeypatch):
    good, old = str(run / "voices/speaker1/2.wav"), f"{run}/caf\udce9.wav"
    shutil.copy(good, old)
    capsys.readouterr()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(os.fsencode(f"{old}\n")), encoding="utf-8"))
    main(["identify", old, "-", good, "--run", str(run / "run"), "--seed", "0"])
    first, second, third = lines(capsys)
    shown = rf"{run}/caf\udce9.wav"
    assert first == second == {"recording": shown, "error": f"{shown}: a name must be UTF-8 text; rename the file"}
    assert third["recording"] == good
    assert "error" not in third


def test_the_channel_is_chosen(run, tmp_path, capsys):
    sound, rate = soundfile.read(run / "voices/speaker1/2.wav")
    soundfile.write(tmp_path / "call.wav", np.stack([0 * sound, sound], axis=1), rate)
    capsys.readouterr()
    heard = ["identify", str(tmp_path / "call.wav"), "--run", str(run / "run"), "--seed", "0", "--channel"]
    main([*heard, "1"])
    with pytest.raises(SystemExit, match="1"):
        main([*heard, "0"])
    right, left = lines(capsys)
    assert right["prediction"] in ("speaker1", None)
    assert right["score"] > 0.5
    assert "digitally silent" in left["error"]


def test_verify_accepts_and_rejects(run, capsys):
    capsys.readouterr()
    for threshold, accepted in (("0.0", True), ("0.99999", False)):
        recording = str(run / "voices/speaker0/1.wav")
        main(["verify", recording, "--speaker", "speaker0", "--threshold", threshold, "--run", str(run / "run")])
        (line,) = lines(capsys)
        assert line["accepted"] is accepted
        assert line["claim"] == "speaker0"


def test_identify_tells_nobody_from_an_abstention(run, capsys):
    capsys.readouterr()
    recording = str(run / "voices/speaker0/1.wav")
    main(["identify", recording, "--run", str(run / "run"), "--threshold", "0.99999"])
    (line,) = lines(capsys)
    assert (line["prediction"], line["nobody"], line["abstained"], line["threshold"]) == (None, True, None, 0.99999)
    main(["identify", recording, "--run", str(run / "run")])
    (line,) = lines(capsys)
    assert line["nobody"] is False


SPEAKERS = "error: speaker must be one of the 3 enrolled (speaker0, speaker1, speaker2), got 'x'"


def test_a_checkpoint_that_is_not_seen_from_here_is_explained(run, tmp_path, capsys):
    shutil.copytree(run / "run", tmp_path / "run")
    settings = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    (tmp_path / "run" / "config.yaml").write_text(yaml.safe_dump(settings | {"checkpoint": "checkpoints/mini"}))
    with pytest.raises(SystemExit, match="2"):
        main(["identify", str(run / "voices/speaker1/2.wav"), "--run", str(tmp_path / "run")])
    printed = capsys.readouterr().err
    assert f"error: checkpoint must say where the encoder of {tmp_path}/run is now: checkpoints/mini does" in printed
    assert "the run noted a path from where it was started" in printed


def test_mistakes_are_messages(run, capsys):
    recording = str(run / "voices/speaker0/1.wav")
    for arguments, message in (
        (["identify", recording, "--run", str(run / "voices")], "must be the folder of a certification run"),
        (["verify", recording, "--run", str(run / "run"), "--speaker", "x", "--threshold", "0"], SPEAKERS),
        (["identify", recording, "--run", str(run / "run"), "--classifier", "x"], "classifier must be one of"),
        (["identify", recording, "--run", str(run / "run"), "--threshold", "2"], "threshold must be None or in (-1, 1"),
        (["identify", recording, "--run", str(run / "run"), "--accelerator", "x"], "accelerator must be auto, cpu or"),
    ):
        with pytest.raises(SystemExit):
            main(arguments)
        assert message in capsys.readouterr().err
