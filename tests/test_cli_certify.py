"""What a user types: `certify.py` and the `voxcert` command, killed, split over processes, mistyped."""

import errno
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml

from voxcert.cli import main
from voxcert.cli.certify import certify
from voxcert.evaluation.certification.folder import read_run

ROOT = Path(__file__).parents[1]


@pytest.fixture
def config(checkpoint, voices, tmp_path):
    """A whole experiment as a YAML file; a test changes what it is about by flags."""
    path = tmp_path / "experiment.yaml"
    corpus = {"class_path": "voxcert.data.SpeakerFolders", "init_args": {"root": str(voices)}}
    data = {"corpus": corpus, "num_test_speakers": 4, "num_enroll": 1, "crop_seconds": 0.4}
    settings = {
        "checkpoint": str(checkpoint),
        "output_dir": str(tmp_path / "run"),
        "sigma": 0.01,
        "num_select": 8,
        "num_estimate": 32,
        "batch_size": 8,
        "accelerator": "cpu",
        "data": data,
    }
    path.write_text(yaml.safe_dump(settings))
    return path


def script(*args):
    """Starts certify.py as a user would, in the root of the repository."""
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "certify.py", *map(str, args)]
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def result(folder):
    """Rows and summary without what depends on the speed of the machine, or names the folder."""
    rows = [replace(row, seconds=0.0) for row in read_run(folder)]
    summary = json.loads((folder / "summary.json").read_text())
    return rows, {key: value for key, value in summary.items() if key not in ("timing", "command")}


def message(capsys, *args):
    """The error that a user sees; the exit status must be 2."""
    with pytest.raises(SystemExit) as stop:
        certify(list(map(str, args)))
    assert stop.value.code == 2
    return capsys.readouterr().err


def test_prints_table_statement_and_plot(config, tmp_path, capsys):
    certify(["--config", str(config), "--rules", "[distribution,vote,published_mean]"])
    printed = capsys.readouterr().out
    folder = tmp_path / "run"
    assert "| distribution " in printed
    assert "published_mean (not a guarantee)" in printed
    assert re.search(r"Proved for \d+ of \d+ utterances: the .* classifier|Nothing was proved by the rule", printed)
    assert f"{folder}/certified_accuracy.png" in printed
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["num_utterances"] == 8
    assert summary["num_speakers"] == 4
    assert summary["command"].startswith(f"voxcert certify --config {config} --rules")
    # The folder's own config repeats the run, and asks for the same weights.
    again = tmp_path / "again"
    certify(["--config", str(folder / "config.yaml"), "--output_dir", str(again)])
    assert result(again) == result(folder)


def test_report_card_and_refusals_use_what_certify_wrote(config, checkpoint, tmp_path, capsys):
    certify(["--config", str(config)])
    folder = tmp_path / "run"
    (folder / "certified_accuracy.png").unlink()
    main(["report", str(folder), "--radii", "[0.0123]"])
    assert "CA at 0.0123" in capsys.readouterr().out
    assert (folder / "certified_accuracy.png").is_file()
    main(["card", str(checkpoint), str(folder)])
    assert "voxcert certify --config" in (checkpoint / "README.md").read_text()
    expected = "sigma is 0.01 there, got 0.02"
    assert expected in message(capsys, "--config", config, "--sigma", "0.02")
    assert "data.num_enroll is 1 there, got 2" in message(capsys, "--config", config, "--data.num_enroll", "2")


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_killed_run_continues_to_the_same_result(config, tmp_path):
    slow = ["--config", str(config), "--num_estimate", "512"]
    certify([*slow, "--output_dir", str(tmp_path / "whole")])
    rows = tmp_path / "run" / "rows.jsonl"
    with script(*slow) as process:
        while process.poll() is None and not (rows.exists() and rows.read_bytes().count(b"\n") >= 4):
            time.sleep(0.005)
        process.kill()
    finished = len(rows.read_bytes().splitlines())
    assert 4 <= finished < 8 * 4, "the run was to be killed in the middle"
    certify(slow)
    assert result(tmp_path / "run") == result(tmp_path / "whole")


@pytest.mark.parametrize("write", [6, 8])
def test_a_full_disk_is_a_message_and_the_run_goes_on(config, tmp_path, capsys, monkeypatch, write):
    certify(["--config", str(config), "--output_dir", str(tmp_path / "whole")])
    sync, writes = os.fsync, itertools.count()

    def fill(descriptor):
        if next(writes) >= write:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(descriptor)

    with monkeypatch.context() as full:
        full.setattr(os, "fsync", fill)
        printed = message(capsys, "--config", config)
    assert re.search(rf"error: {tmp_path}/run/\S+: No space left on device", printed)
    assert "Traceback" not in printed
    certify(["--config", str(config)])
    assert result(tmp_path / "run") == result(tmp_path / "whole")


def test_a_folder_that_vanishes_is_a_message(config, tmp_path, capsys, monkeypatch):
    folder, sync = tmp_path / "run", os.fsync

    def vanish(descriptor):
        sync(descriptor)
        if (folder / "rows.jsonl").exists() and (folder / "rows.jsonl").stat().st_size:
            shutil.rmtree(folder)

    monkeypatch.setattr(os, "fsync", vanish)
    assert f"error: {folder}/rows.jsonl: No such file or directory" in message(capsys, "--config", config)


def test_a_read_only_folder_is_a_message(config, tmp_path, capsys):
    folder = tmp_path / "run"
    folder.mkdir(mode=0o500)
    if os.access(folder, os.W_OK):
        folder = Path("/sys/kernel")  # the administrator may write to any other
        if not folder.is_dir():
            pytest.skip("no folder is read-only for this user")
    printed = message(capsys, "--config", config, "--output_dir", folder)
    assert f"error: {folder}/.lock: Permission denied" in printed


def test_two_processes_give_the_rows_of_one(config, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    threads = torch.get_num_threads()
    torch.set_num_threads(2)  # each of the two processes has one
    certify(["--config", str(config), "--output_dir", str(one)])
    torch.set_num_threads(threads)
    with script("--config", config, "--output_dir", two, "--devices", 2) as process:
        printed, errors = process.communicate()
    assert process.returncode == 0, errors
    assert printed.count("| distribution ") == 1
    assert sorted(path.name for path in two.iterdir()) == sorted(path.name for path in one.iterdir())
    assert result(two) == result(one)
    assert json.loads((two / "summary.json").read_text())["timing"]["processes"] == 2


LARGE = {"eres2net_cn", "eres2net_large", "resnet221", "resnet293", "sincnet", "wavlm"}
ENCODERS = [
    pytest.param(path, marks=[pytest.mark.slow] if path.stem in LARGE else [], id=path.stem)
    for path in sorted((ROOT / "configs" / "encoder").glob("*.yaml"))
]


@pytest.mark.parametrize("encoder", ENCODERS)
def test_runs_with_every_encoder(encoder, config, voices, tmp_path, capsys):
    if encoder.stem == "pyannote":
        pytest.importorskip("pyannote.audio")
    settings = yaml.safe_load(config.read_text())
    del settings["checkpoint"]
    settings |= {"num_select": 2, "num_estimate": 2, "rules": ["vote"]}
    settings["data"]["num_test_speakers"] = 2
    config.write_text(yaml.safe_dump(settings))
    for number in range(2):
        for take in range(2):
            target = tmp_path / "voices" / f"speaker{number}" / f"{take}.wav"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(voices / f"speaker{number}" / f"{take}.wav")
    certify(["--config", str(config), "--encoder", str(encoder), "--data.corpus.root", str(tmp_path / "voices")])
    rows = read_run(tmp_path / "run")
    assert [row.num_forwards for row in rows] == [4, 4]
    assert {row.prediction for row in rows} <= {"speaker0", "speaker1"}
    assert "random weights" in capsys.readouterr().err


def test_checkpoint_or_encoder_not_both_and_not_neither(config, capsys):
    printed = message(capsys, "--config", config, "--encoder", ROOT / "configs" / "encoder" / "ecapa_mini.yaml")
    assert "one of checkpoint and encoder must be given, got both" in printed
    settings = yaml.safe_load(config.read_text())
    del settings["checkpoint"]
    config.write_text(yaml.safe_dump(settings))
    assert "one of checkpoint and encoder must be given, got none" in message(capsys, "--config", config)
    encoder = ["--encoder", ROOT / "configs" / "encoder" / "ecapa_mini.yaml", "--checkpoint_hash", "0123"]
    assert "checkpoint_hash must be 0123, got" in message(capsys, "--config", config, *encoder)


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["--sigma", "0"], "error: sigma must be finite and above 0, got 0.0"),
        (["--sigma", "-0.1"], "error: sigma must be finite and above 0, got -0.1"),
        (["--alpha", "0"], "error: alpha must be in (0, 1), got 0.0"),
        (["--seed", str(10**23)], "error: seed must be in [-2^63, 2^64), which torch takes, got 1"),
        (["--alpha", "1"], "error: alpha must be in (0, 1), got 1.0"),
        (["--checkpoint", "none"], "error: checkpoint none does not exist"),
        (["--checkpoint_hash", "0123"], "error: checkpoint_hash must be 0123, got "),
        (["--data.corpus.root", "none"], "root must be an existing folder, got 'none'"),
        (["--rules", "[voting]"], "voting"),
        (["--num_estimates", "10"], "num_estimates"),
    ],
)
def test_bad_values_are_messages(config, capsys, args, expected):
    printed = message(capsys, "--config", config, *args)
    assert expected in printed
    assert "Traceback" not in printed


def test_misspelt_key_is_named(config, capsys):
    settings = yaml.safe_load(config.read_text())
    config.write_text(yaml.safe_dump(settings | {"sigmma": 0.1}))
    assert "sigmma" in message(capsys, "--config", config)


def test_one_speaker_is_not_enough(config, voices, tmp_path, capsys):
    (tmp_path / "voices").mkdir()
    (tmp_path / "voices" / "speaker0").symlink_to(voices / "speaker0")
    args = ["--config", config, "--data.corpus.root", tmp_path / "voices", "--data.num_test_speakers", "1"]
    assert "at least 2 speakers, got 1" in message(capsys, *args)


def test_pickle_in_the_checkpoint_folder_is_not_read(config, checkpoint, tmp_path, capsys):
    folder = tmp_path / "stranger"
    folder.mkdir()
    (folder / "config.yaml").write_bytes((checkpoint / "config.yaml").read_bytes())
    (folder / "model.pt").write_bytes(b"pickle")
    printed = message(capsys, "--config", config, "--checkpoint", folder)
    assert "model.safetensors is missing" in printed
    assert "model.pt is a pickle, which is never read" in printed
    torch.save({"weight": torch.ones(1)}, folder / "model.safetensors")
    assert "is not a safetensors file (a pickle is never read)" in message(
        capsys, "--config", config, "--checkpoint", folder
    )


def test_bad_audio_stops_or_becomes_a_row(config, voices, tmp_path, capsys):
    copy = tmp_path / "voices"
    for speaker in voices.iterdir():
        (copy / speaker.name).mkdir(parents=True)
        for path in speaker.iterdir():
            (copy / speaker.name / path.name).symlink_to(path)
    args = ["--config", str(config), "--data.corpus.root", str(copy)]
    tested = sorted({row.utterance for row in _certified(args, tmp_path / "good")})[0]
    (copy / f"{tested}.wav").unlink()
    (copy / f"{tested}.wav").write_bytes(b"")
    assert f"{tested}.wav: empty: the file has 0 bytes" in message(capsys, *args)
    rows = _certified([*args, "--data.on_bad_audio", "skip"], tmp_path / "skipped")
    reasons = {row.utterance: row.abstained for row in rows if row.num_forwards == 0}
    assert list(reasons) == [tested]
    assert "empty: the file has 0 bytes" in reasons[tested]


def _certified(args, folder):
    certify([*args, "--output_dir", str(folder)])
    return read_run(folder)


def test_voxcert_command_lists_what_it_can_do(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    printed = capsys.readouterr().out
    for command in ("train", "certify", "encoders", "export", "card", "report"):
        assert f"  {command} " in printed


@pytest.mark.parametrize("command", ["certify", "encoders", "export", "card", "report"])
def test_every_command_has_help(command, capsys):
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    assert f"voxcert {command}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["export", "none.ckpt", "here"], "error: checkpoint none.ckpt does not exist"),
        (["report", "none"], "error: none must be the folder of a certification run"),
        (["encoders", "--folder", "none"], "error: folder must hold encoder configs (*.yaml), got none"),
        (["card", "none"], "error: checkpoint none does not exist"),
        (["purge"], "invalid choice: 'purge'"),
    ],
)
def test_other_commands_tell_what_is_wrong(capsys, args, expected):
    with pytest.raises(SystemExit) as stop:
        main(args)
    assert stop.value.code == 2
    assert expected in capsys.readouterr().err
