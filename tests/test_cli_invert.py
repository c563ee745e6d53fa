import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import soundfile
import torch
import yaml
from safetensors import safe_open
from safetensors.torch import load_file

from commands import message
from voxcert.cli import main
from voxcert.data.identity import labels_hash
from voxcert.encoders.checkpoint import save_checkpoint, write_card
from voxcert.encoders.sincnet import SincNet
from voxcert.evaluation.inversion.row import InversionRow
from voxcert.rows import read_rows


def rows_of(folder):
    return read_rows(Path(folder) / "rows.jsonl", InversionRow)


SPEAKERS = [f"speaker{number}" for number in range(4)]
STARTS = "voxcert.attacks.inversion.starts"
ZEROS = {"class_path": f"{STARTS}.Constant", "init_args": {"value": 0}}
WHITE = {"class_path": f"{STARTS}.Noise", "init_args": {"color": "white"}}
SPEECH = {"class_path": f"{STARTS}.Mixture", "init_args": {
    "start": {"class_path": f"{STARTS}.Speech"}, "noise": WHITE}}  # fmt: skip


@pytest.fixture(scope="module")
def victim(tmp_path_factory):
    """A tiny identification network with random weights, its classifier sharpened so that posteriors differ."""
    torch.manual_seed(0)
    network = SincNet(4, chunk_samples=640, num_filters=4, channels=4, dim=8).eval()
    network.dnn2.wx[0].weight.data.mul_(30)
    folder = tmp_path_factory.mktemp("victims") / "sincnet"
    save_checkpoint(network, folder, {})
    return folder


@pytest.fixture(scope="module")
def voices(tmp_path_factory):
    """Four speakers and a stranger: harmonics of a pitch of their own, in noise."""
    folder = tmp_path_factory.mktemp("voices")
    generator = torch.Generator().manual_seed(0)
    seconds = torch.arange(12_000) / 16_000
    for number, speaker in enumerate([*SPEAKERS, "stranger"]):
        home = folder / ("strangers" if speaker == "stranger" else "known") / speaker
        home.mkdir(parents=True)
        tone = sum(torch.sin(2 * torch.pi * (90 + 60 * number) * k * seconds) / k for k in range(1, 20))
        soundfile.write(
            home / "0.wav", (0.05 * tone + 0.005 * torch.randn(12_000, generator=generator)).numpy(), 16_000
        )
    return folder


@pytest.fixture
def config(victim, voices, tmp_path):
    """A whole experiment as a YAML file; a test changes what it is about by flags."""
    known, strangers = (
        {"class_path": "voxcert.data.SpeakerFolders", "init_args": {"root": str(voices / part)}}
        for part in ("known", "strangers")
    )
    split = {"class_path": "voxcert.data.TimeSplit", "init_args": {"corpus": known, "late": 0.4}}
    experiments = [
        {"name": "white", "method": "standard", "start": WHITE, "step_size": 0.1},
        {"name": "white", "method": "sliding", "start": WHITE, "step_size": 0.1},
        {"name": "noise and speech", "method": "sliding", "start": SPEECH, "step_size": 0.1},
        {"name": "zeros", "method": "d_vector", "start": ZEROS, "step_size": 1.0},
    ]
    settings = {
        "checkpoint": str(victim),
        "output_dir": str(tmp_path / "run"),
        "experiments": experiments,
        "steps": 5,
        "start_samples": 1920,
        "batch_size": 2,
        "accelerator": "cpu",
        "data": {"corpus": split, "train_parts": ["early"]},
        "speech": strangers,
    }
    path = tmp_path / "experiment.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path


def invert(config, *args):
    main(["invert", "--config", str(config), *map(str, args)])


def timeless(folder):
    return [replace(row, seconds=0.0) for row in rows_of(folder)]


def test_writes_rows_table_audio_and_figures_and_its_config_repeats_the_run(config, tmp_path, capsys):
    invert(config, "--steps", 4)
    printed, folder = capsys.readouterr().out, tmp_path / "run"
    cells = [[cell.strip() for cell in line.split("|")] for line in printed.splitlines()]
    assert any(line[1:3] == ["white, sliding", "0.1"] for line in cells)
    assert "- recordings, held out: error" in printed
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["command"].startswith(f"voxcert invert --config {config} --steps 4")
    assert summary["baselines"]["held_out"]["speakers"] == 4
    rows = timeless(folder)
    titles = ["white, standard", "white, sliding", "noise and speech, sliding", "zeros, d_vector"]
    assert [(row.experiment, row.speaker) for row in rows] == [(title, name) for title in titles for name in SPEAKERS]
    assert {row.steps for row in rows if row.experiment == "white, standard"} == {8}  # two windows of 4 steps
    assert all(0 <= row.posterior <= 1 and 0 <= row.nearest <= row.distance <= 2 for row in rows)
    for picture in ("accuracy.png", "components.png"):
        assert (folder / picture).read_bytes().startswith(b"\x89PNG")
    for title in titles[:3]:
        sound, rate = soundfile.read(folder / "audio" / title / "speaker1.flac")
        assert (len(sound), rate) == (1280, 16_000)  # a window less than it began with
        assert abs(sound).max() == pytest.approx(0.5, abs=1e-3)
    with safe_open(folder / "inverted.safetensors", "pt") as file:
        assert json.loads(file.metadata()["speakers"]) == SPEAKERS
        assert file.get_tensor("d_vectors/zeros, d_vector").shape == (4, 8)
        assert file.get_tensor("waveforms/white, sliding").shape == (4, 1280)
    invert(folder / "config.yaml", "--output_dir", tmp_path / "again")
    assert timeless(tmp_path / "again") == rows


@pytest.mark.parametrize("defence", [(), ("--posterior_noise", 0.1), ("--sigma", 0.05, "--num_noise", 2)])
def test_a_run_that_was_cut_continues_and_other_settings_are_refused(config, tmp_path, capsys, defence):
    invert(config, *defence)
    rows, path = timeless(tmp_path / "run"), tmp_path / "run" / "rows.jsonl"
    baselines = json.loads((tmp_path / "run" / "summary.json").read_text())["baselines"]
    content = path.read_bytes()
    path.write_bytes(content[: 3 * len(content) // 5])
    invert(config, *defence)
    assert timeless(tmp_path / "run") == rows
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["baselines"] == baselines
    printed = message(capsys, "invert", "--config", config, *defence, "--patience", 3)
    assert "holds a run with other settings: patience is 20 there, got 3" in printed


@pytest.mark.parametrize(("first", "second"), [(1, 4), (4, 1), (2, 3)])
def test_a_run_continues_with_other_batches(config, tmp_path, first, second):
    invert(config, "--batch_size", first)
    whole = load_file(tmp_path / "run" / "inverted.safetensors")
    path = tmp_path / "run" / "rows.jsonl"
    content = path.read_bytes()
    path.write_bytes(content[: 3 * len(content) // 5])
    invert(config, "--batch_size", second)
    again = load_file(tmp_path / "run" / "inverted.safetensors")
    assert whole.keys() == again.keys()
    for name, value in whole.items():
        assert len(value) == len(SPEAKERS)
        torch.testing.assert_close(again[name], value, atol=1e-3, rtol=1e-3)


def test_d_vectors_are_always_inverted(config, tmp_path):
    invert(config, "--steps", 1000)
    found = [row for row in rows_of(tmp_path / "run") if row.experiment.endswith("d_vector")]
    assert all(row.correct and row.cost <= 0.01 for row in found)


@pytest.mark.parametrize(
    "defence", [("--round_digits", 2), ("--posterior_noise", 0.1), ("--sigma", 0.05, "--num_noise", 2, "--num_eval", 4)]
)
def test_defended_systems(config, tmp_path, defence):
    invert(config, "--steps", 2, "--num_speakers", 2, *defence)
    invert(config, "--steps", 2, "--num_speakers", 2, *defence, "--access", "weights", "--output_dir", tmp_path / "w")
    released, weights = timeless(tmp_path / "run"), timeless(tmp_path / "w")
    assert len(released) == len(weights) == 8
    assert [row.cost for row in released] != [row.cost for row in weights]


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["--steps", 0], "error: steps must be at least 1, got 0"),
        (["--start_samples", 1279], "error: start_samples must be at least 1280, two chunks, got 1279"),
        (["--num_speakers", 5], "error: num_speakers must be at most 4, got 5"),
        (["--round_digits", 0], "error: round_digits must be in [1, 12] or null, got 0"),
        (["--posterior_noise", ".inf"], "error: posterior_noise must be at least 0 and finite, got inf"),
        (["--seed", -1], "error: seed must be at least 0, got -1"),
        (["--stride", 641], "error: stride must be at most 640, a chunk, got 641"),
        (["--access", "all"], "access"),
        (["--speech", "null"], "error: speech must hold 1 stretches for this start, got 0"),
        (["--data.train_parts", "[late]", "--data.corpus.init_args.num_speakers", 3], "must have the 4 speakers"),
    ],
)
def test_bad_values_are_messages(config, capsys, args, expected):
    assert expected in message(capsys, "invert", "--config", config, *args)


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["--stride", 641], "stride must be at most 640"),
        (["--speech", "null"], "speech must hold 1 stretches for this start, got 0: noise and speech, sliding"),
    ],
)
def test_what_a_later_experiment_lacks_is_told_before_the_first(config, tmp_path, capsys, args, expected):
    assert expected in message(capsys, "invert", "--config", config, *args)
    assert not (tmp_path / "run" / "rows.jsonl").exists()
    assert not (tmp_path / "run" / "parts").exists()


def test_other_speakers_than_those_that_the_network_names_are_refused(config, victim, tmp_path, capsys):
    named = tmp_path / "named"
    shutil.copytree(victim, named)
    classes = {name: number for number, name in enumerate(SPEAKERS)}
    for names, expected in ((classes, "num_speakers must be at most 4"), ({**classes, "eve": 3}, "got 4 others")):
        write_card(named, {"training": {"classes": labels_hash(names)}})
        assert expected in message(capsys, "invert", "--config", config, "--checkpoint", named, "--num_speakers", 5)


def test_an_encoder_without_posteriors(config, checkpoint, capsys):
    printed = message(capsys, "invert", "--config", config, "--checkpoint", checkpoint)
    assert "encoder must be SincNet, which has posteriors to invert, got ECAPA" in printed
