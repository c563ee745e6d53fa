"""Old names of options and classes are refused by messages that give the new ones."""

import pytest
import yaml

from voxcert.cli.certify import certify_parser
from voxcert.cli.invert import invert_parser
from voxcert.cli.report import report
from voxcert.cli.train import train

START = {"class_path": "voxcert.attacks.inversion.Noise", "init_args": {"color": "white"}}
EXPERIMENT = {"name": "white", "method": "standard", "start": START, "step_size": 1.0}


@pytest.mark.parametrize(
    ("config", "flags", "message"),
    [
        ({"iterations": 5}, [], "iterations is called steps now"),
        ({"samples": 6400}, [], "samples is called start_samples now"),
        ({}, ["--iterations", "5"], "iterations is called steps now"),
        ({"experiments": [EXPERIMENT | {"lr": 1.0}]}, [], "lr is called step_size now"),
        (
            {"experiments": [EXPERIMENT | {"start": START | {"class_path": "voxcert.attacks.inversion_starts.Noise"}}]},
            [],
            "voxcert.attacks.inversion_starts.NAME is called voxcert.attacks.inversion.NAME now",
        ),
    ],
)
def test_old_names_of_an_inversion(config, flags, message, tmp_path, capsys):
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump({"output_dir": "run", "experiments": [EXPERIMENT]} | config))
    with pytest.raises(SystemExit, match="2"):
        invert_parser().parse_args(["--config", str(path), *flags])
    assert message in capsys.readouterr().err


def test_other_mistakes_name_nothing_new(tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        invert_parser().parse_args(["--step", "1", "--steps_size", "2"])
    assert "is called" not in capsys.readouterr().err


def test_old_classes_of_a_training(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["train.py"])
    model = {
        "class_path": "voxcert.training.GeneratorModule",
        "init_args": {"generator": {"class_path": "voxcert.attacks.generator_network.SaliencyGenerator"}},
    }
    with pytest.raises(SystemExit, match="2"):
        train(["fit", "--model", yaml.safe_dump(model)])
    assert "voxcert.attacks.generator_network.NAME is called voxcert.attacks.NAME now" in capsys.readouterr().err


@pytest.mark.parametrize(("args", "given"), [(["--rules", "vote"], "vote"), (["--radii", "0.1", "0.2"], "0.1")])
def test_how_a_list_is_written(args, given, capsys):
    with pytest.raises(SystemExit, match="2"):
        certify_parser().parse_args(args)
    assert f'{args[0]} [{given}], or {args[0]} "[A,B]" for two' in capsys.readouterr().err


def test_every_command_says_how_a_list_is_written(capsys):
    with pytest.raises(SystemExit, match="2"):
        report(["run", "--radii", "0.1"])
    printed = capsys.readouterr().err
    assert printed.startswith("usage: voxcert report ")
    assert '--radii [0.1], or --radii "[A,B]" for two' in printed


def test_other_values_have_no_word_about_lists(capsys):
    with pytest.raises(SystemExit, match="2"):
        certify_parser().parse_args(["--sigma", "x"])
    assert "A list is written" not in capsys.readouterr().err
