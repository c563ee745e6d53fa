"""What a user types: `voxcert attack`, and `voxcert report` on what it wrote; cut short, mistyped."""

import json
import re
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import pytest
import yaml
from attacked import rows_of

from commands import message
from tiny import TINY
from voxcert.attacks import SaliencyGenerator
from voxcert.cli import main
from voxcert.cli.certify import certify
from voxcert.encoders.checkpoint import save_checkpoint

SPEAKERS = [f"speaker{number}" for number in range(4)]


@pytest.fixture
def config(checkpoint, short_voices, tmp_path):
    """A whole experiment as a YAML file; a test changes what it is about by flags."""
    corpus = {"class_path": "voxcert.data.SpeakerFolders", "init_args": {"root": str(short_voices)}}
    settings = {
        "checkpoint": str(checkpoint),
        "output_dir": str(tmp_path / "run"),
        "attack": {"class_path": "voxcert.attacks.bim", "init_args": {"epsilon": 0.01, "steps": 2}},
        "accelerator": "cpu",
        "data": {"corpus": corpus, "num_test_speakers": 4, "num_enroll": 1, "crop_seconds": 0.2},
    }
    path = tmp_path / "experiment.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path


def attack(config, *args):
    main(["attack", "--config", str(config), *map(str, args)])


def timeless(folder):
    return [replace(row, seconds=0.0) for row in rows_of(folder)]


def test_draws_the_first_utterances_at_every_radius(config, tmp_path):
    attack(config, "--plot", 2, "--radii", "[0.01,0.1]", "--attack.class_path", "voxcert.attacks.pgd")
    first = [row.utterance for row in rows_of(tmp_path / "run")[:2]]
    found = sorted(path.relative_to(tmp_path / "run" / "pictures") for path in tmp_path.rglob("pictures/*/*.png"))
    assert found == sorted(Path(radius, f"{quote(name, safe='')}.png") for radius in ("0.01", "0.1") for name in first)


def test_attacks_on_claims_stand_beside_the_certificates_of_the_same_trials(config, checkpoint, tmp_path, capsys):
    about = yaml.safe_load(config.read_text())
    proved = {key: about[key] for key in ("checkpoint", "accelerator", "data")}
    proved |= {"task": "verification", "output_dir": str(tmp_path / "proved"), "sigma": 0.003, "radii": [0.0, 0.001]}
    proved |= {"num_select": 8, "num_estimate": 64, "batch_size": 16}
    (tmp_path / "certify.yaml").write_text(yaml.safe_dump(proved))
    certify(["--config", str(tmp_path / "certify.yaml")])
    smoothed = ["--scenario", "sv", "--sigma", 0.003, "--decision", "vote", "--threshold", 0.5]
    smoothed += ["--attack.class_path", "voxcert.attacks.pgd", "--num_noise", 2, "--num_eval", 32, "--radii", "[0.001]"]
    attack(config, *smoothed, "--targeted", "false", "--output_dir", tmp_path / "lock-out")
    attack(config, *smoothed, "--targeted", "true", "--output_dir", tmp_path / "break-in")
    assert all(-1 <= row.score <= 1 for row in rows_of(tmp_path / "lock-out"))
    capsys.readouterr()
    main(["report", *(str(tmp_path / name) for name in ("proved", "lock-out", "break-in"))])
    printed = capsys.readouterr().out
    assert f"Attacks on claims beside {tmp_path / 'proved'}" in printed
    (line,) = [line for line in printed.splitlines() if line.startswith("| 0.001  | 4")]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[:3] == ["0.001", "4", "4"]
    assert cells[10] == "0", "no proof was broken"


def test_one_generator_forges_whomever_it_is_told(config, tmp_path, capsys):
    save_checkpoint(SaliencyGenerator((2, 2, 2), dilations=(), target_dim=TINY["dim"]), tmp_path / "any", {})
    told = ["--attack.class_path", "voxcert.attacks.ssed", "--attack.network", tmp_path / "any"]
    attack(config, *told, "--attack.epsilon", 0.01)
    drawn = rows_of(tmp_path / "run")
    assert all(row.target != row.speaker and 0 < row.linf < 0.0101 for row in drawn)
    assert len({row.target for row in drawn}) > 1
    assert {(row.forwards, row.backwards) for row in drawn} == {(0, 0)}, "the generator asks the victim nothing"
    smoothed = ["--sigma", 0.003, "--num_eval", 8, "--target", "speaker1", "--output_dir", tmp_path / "smoothed"]
    attack(config, *told, "--attack.epsilon", 0.01, *smoothed)
    assert {row.target for row in rows_of(tmp_path / "smoothed")} == {"speaker1"}
    save_checkpoint(SaliencyGenerator((2, 2, 2), dilations=(), target_dim=8), tmp_path / "other", {})
    other = [*told[:2], "--attack.network", tmp_path / "other", "--output_dir", tmp_path / "refused"]
    printed = message(capsys, "attack", "--config", config, *other)
    assert f"of the size that the generator was trained with, 8, got {TINY['dim']}" in printed


def test_another_encoder_judges_and_its_weights_are_kept(config, checkpoint, tmp_path, capsys):
    claims = ["--scenario", "sv", "--start", "white", "--judge", checkpoint]
    attack(config, *claims)
    printed, rows, folder = capsys.readouterr().out, timeless(tmp_path / "run"), tmp_path / "run"
    assert "| bim, targeted, from white noise | 0.01 linf | sv " in printed
    assert "| white noise | 0.01 linf " in printed
    assert "judge accepts before %" in printed
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["judge"]["encoder"] == summary["checkpoint_hash"] == rows[0].judge
    assert summary["judge"]["threshold"] == pytest.approx(summary["threshold"], abs=1e-6), "it is the attacked encoder"
    assert [row.judge_score for row in rows] == pytest.approx([row.score for row in rows], abs=1e-6)
    attack(folder / "config.yaml", "--output_dir", tmp_path / "again")
    assert timeless(tmp_path / "again") == rows
    printed = message(capsys, "attack", "--config", config, *claims, "--judge_hash", "0123")
    assert f"judge must have the hash 0123, got {rows[0].judge} in {checkpoint}" in printed


def test_a_negative_number_of_pictures_is_an_error(config, capsys):
    assert "plot must be at least 0, got -1" in message(capsys, "attack", "--config", config, "--plot", -1)


def test_prints_the_table_and_its_config_repeats_the_run(config, tmp_path, capsys):
    attack(config, "--attack.epsilon", 0.02)
    printed, folder = capsys.readouterr().out, tmp_path / "run"
    assert "| bim, targeted | 0.02 linf | csi " in printed
    assert f"{folder}/robust_accuracy.png" in printed
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["command"].startswith(f"voxcert attack --config {config} --attack.epsilon 0.02")
    rows = timeless(folder)
    assert len(rows) == 4
    assert {row.attack_settings["epsilon"] for row in rows} == {0.02}
    assert all(row.target in SPEAKERS and row.target != row.speaker for row in rows)
    attack(folder / "config.yaml", "--output_dir", tmp_path / "again")
    assert timeless(tmp_path / "again") == rows


def test_a_run_that_was_cut_continues_and_other_settings_are_refused(config, tmp_path, capsys):
    changes = ["--utterances_per_batch", 1, "--targeted", "false", "--attack.class_path", "voxcert.attacks.pgd"]
    attack(config, *changes)
    rows, path = timeless(tmp_path / "run"), tmp_path / "run" / "rows.jsonl"
    content = path.read_bytes()
    path.write_bytes(content[: 3 * len(content) // 4])
    attack(config, *changes)
    assert timeless(tmp_path / "run") == rows
    printed = message(capsys, "attack", "--config", config, *changes, "--attack.epsilon", 0.02)
    assert "holds a run with other settings: attack.init_args.epsilon is 0.01 there, got 0.02" in printed


def test_a_refused_run_leaves_its_folder_to_the_corrected_command(config, tmp_path, capsys):
    changes = ["--attack.class_path", "voxcert.attacks.pgd", "--attack.init_args.epsilon", 0.01]
    printed = message(capsys, "attack", "--config", config, *changes, "--attack.init_args.steps", 0)
    assert "must be at least 1, got steps=0" in printed
    attack(config, *changes, "--attack.init_args.steps", 1)
    assert {row.attack_settings["steps"] for row in timeless(tmp_path / "run")} == {1}


@pytest.fixture
def certified(config, tmp_path, capsys):
    """A function that certifies the experiment's system, with settings of a task; gives the folder of the run."""

    def run(**changes):
        settings = yaml.safe_load(config.read_text())
        del settings["attack"]
        settings |= {"sigma": 0.01, "num_select": 4, "num_estimate": 16, "batch_size": 8} | changes
        settings["output_dir"] = str(tmp_path / "certified")
        (tmp_path / "certify.yaml").write_text(yaml.safe_dump(settings))
        certify(["--config", str(tmp_path / "certify.yaml")])
        capsys.readouterr()
        return tmp_path / "certified"

    return run


def test_attacks_on_certified_claims_say_what_they_turned(config, certified, capsys):
    run = certified(task="verification", radii=[0.0, 0.001])
    claims = ["--scenario", "sv", "--threshold", 0.5, "--sigma", 0.01, "--num_noise", 2, "--num_eval", 8, "--seed", 3]
    attack(config, *claims, "--radii", "[0.001]", "--certified", run)
    printed = capsys.readouterr().out
    assert f"Attacks on claims beside {run}" in printed
    assert "| radius | genuine | impostor |" in printed


def test_a_name_is_attacked_as_the_speakers_of_certified_claims(config, certified, tmp_path, capsys):
    run = certified(task="verification", radii=[0.0, 0.001])
    attack(config, "--sigma", 0.01, "--num_noise", 2, "--num_eval", 8, "--radii", "[0.001]", "--certified", run)
    assert "Attacks on claims" not in capsys.readouterr().out
    assert (tmp_path / "run" / "robust_accuracy.png").is_file()


def test_certified_and_attacked_stand_on_one_picture(config, certified, tmp_path, capsys):
    certified(rules=["vote", "distribution"])
    smoothed = ["--sigma", 0.01, "--decision", "vote", "--num_noise", 2, "--num_eval", 8]
    smoothed += ["--radii", "[0.001,0.1]", "--targeted", "false", "--certified", tmp_path / "certified"]
    attack(config, *smoothed)
    printed = capsys.readouterr().out
    assert "| bim, untargeted | 0.001 l2 | csi " in printed
    said = (
        f"{tmp_path}/run says nothing about the certificates of {tmp_path}/certified (vote): none was attacked inside"
    )
    assert said in printed, "8 are too few to answer"
    main(["report", str(tmp_path / "certified"), str(tmp_path / "run")])
    printed = capsys.readouterr().out
    assert "| vote " in printed
    assert "| bim, untargeted | 0.1 l2 " in printed
    assert f"{tmp_path}/run/certified_empirical.png" in printed
    assert (tmp_path / "run" / "certified_empirical.png").read_bytes().startswith(b"\x89PNG")


def test_any_encoder_with_random_weights(config, tmp_path, capsys):
    settings = yaml.safe_load(config.read_text())
    del settings["checkpoint"]
    settings["encoder"] = {"class_path": "voxcert.encoders.ecapa.ECAPA", "init_args": TINY}
    config.write_text(yaml.safe_dump(settings))
    attack(config, "--keep", "wav", "--data.max_test_utterances", 2)
    assert "random weights" in capsys.readouterr().err
    rows = rows_of(tmp_path / "run")
    assert [(tmp_path / "run" / row.file).is_file() for row in rows] == [True, True]


def test_an_open_set(config, tmp_path, capsys):
    attack(config, "--scenario", "osi", "--enrolled", "[speaker0,speaker1,speaker2]")
    assert "| osi " in capsys.readouterr().out
    (row,) = rows_of(tmp_path / "run")
    assert (row.speaker, row.expected) == ("speaker3", None)
    assert row.target in SPEAKERS[:3]


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["--attack.epsilon", 0], "error: attack.epsilon must be above 0, got 0"),
        (["--attack.epsilon", -1], "error: attack.epsilon must be above 0, got -1"),
        (["--attack.epsilon", ".inf"], "error: attack.epsilon must be finite, got inf"),
        (["--attack", "voxcert.attacks.pgd"], "error: attack.epsilon must be given for voxcert.attacks.gradient.pgd"),
        (["--scenario", "sv", "--threshold", ".nan"], "error: threshold must be finite or null, got nan"),
        (["--target", "nobody"], "error: target must be one of the enrolled speakers 'speaker0', 'speaker1', "),
        (["--enrolled", "[speaker0,nobody]"], "error: enrolled must name 2 or more of the speakers 'speaker0', "),
        (["--enrolled", 9], "error: enrolled must be in [2, 4], the speakers to test, got 9"),
        (["--scenario", "osi"], "error: scenario osi needs test utterances of speakers who are not enrolled"),
        (["--scenario", "open"], "scenario"),
        (["--sigma", 0], "error: sigma must be finite and above 0, or null, got 0"),
        (["--radii", "[0]"], "error: radii must be one or more finite numbers above 0, got [0"),
        (
            ["--attack", "voxcert.attacks.carlini_wagner", "--radii", "[0.1]"],
            "radii and within must be null for an attack without",
        ),
        (["--attack.epsilonn", 1], "epsilonn"),
        (
            ["--attack.targeted", "false"],
            "error: attack.targeted must be left to the option targeted, got false there and true here",
        ),
        (
            ["--attack.init_args.targeted=true", "--targeted", "false"],
            "error: attack.targeted must be left to the option targeted, got true there and false here",
        ),
        (["--attack", "voxcert.attacks.none"], "voxcert.attacks.none"),
        (["--certified", "none"], "error: none must be the folder of a certification run"),
        (["--scenario", "sv", "--judge", "none"], "error: checkpoint none does not exist"),
        (["--start", "white"], "error: start and judge must be utterance and null but for targeted attacks in the"),
        (["--checkpoint_hash", "0123"], "error: checkpoint_hash must be 0123, got "),
    ],
)
def test_bad_values_are_messages(config, capsys, args, expected):
    assert expected in message(capsys, "attack", "--config", config, *args)


def test_help_names_attacks_and_scenarios(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["attack", "--help"])
    assert stop.value.code == 0
    printed = capsys.readouterr().out
    assert "voxcert attack" in printed
    for word in ("carlini_wagner", "pgd", "--attack.epsilon", "--radii", "--certified", "{csi,osi,sv}"):
        assert word in printed
    assert "torch.Tensor" not in printed


def test_the_attack_that_help_teaches_runs(config, tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["attack", "--help"])
    taught = re.search(r"such as ((?:--attack\S* [^ ;]+ ?)+);", " ".join(capsys.readouterr().out.split()))[1].split()
    settings = yaml.safe_load(config.read_text())
    del settings["attack"]
    config.write_text(yaml.safe_dump(settings))
    attack(config, *taught, "--attack.steps", 1, "--data.max_test_utterances", 2)
    assert [(row.attack, row.attack_settings["epsilon"]) for row in rows_of(tmp_path / "run")] == [("pgd", 0.002)] * 2
