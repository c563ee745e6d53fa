"""Configs by name: a file here wins over one that comes with the package, and stderr says which is read."""

from pathlib import Path

import pytest
import yaml

from voxcert.cli import main
from voxcert.cli.certify import certify_parser
from voxcert.cli.configs import config_folder, find_config, with_files
from voxcert.cli.options import parse
from voxcert.cli.train import train

CONFIGS = Path(__file__).parents[1] / "configs"
NAME = "certify/librispeech.yaml"


@pytest.fixture(autouse=True)
def empty(tmp_path, monkeypatch):
    """An empty folder to work in, away from the repository."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(values))


def test_an_editable_install_has_the_configs_of_the_repository():
    assert config_folder().samefile(CONFIGS)
    assert find_config(NAME).samefile(CONFIGS / NAME)


def test_a_file_here_wins(empty):
    write(empty / NAME, {"sigma": 0.5})
    assert find_config(NAME) == Path(NAME)
    assert find_config(str(empty / NAME)) == empty / NAME


def test_a_name_may_be_written_as_in_the_repository(empty):
    assert find_config(f"configs/{NAME}").samefile(CONFIGS / NAME)
    write(empty / "configs" / NAME, {"sigma": 0.5})
    assert find_config(f"configs/{NAME}") == Path("configs") / NAME


def test_an_error_says_where_was_looked(empty):
    with pytest.raises(ValueError, match="--config must be a YAML file or a config that comes with voxcert") as error:
        find_config("certify/nowhere.yaml", "--config")
    assert str(empty / "certify/nowhere.yaml") in str(error.value)
    assert str(config_folder() / "certify/nowhere.yaml") in str(error.value)


@pytest.mark.parametrize("args", [["--config", NAME], [f"--config={NAME}"]])
def test_arguments_become_files(args, capsys):
    *named, option, value = with_files([*args, "--checkpoint", "folder"])
    assert (option, value) == ("--checkpoint", "folder")
    assert Path(named[-1].removeprefix("--config=")).samefile(CONFIGS / NAME)
    assert capsys.readouterr().err == f"--config reads {config_folder() / NAME}\n"


def test_other_arguments_stay(capsys):
    args = ["one.yaml", "--radii", "[0.1]", "--radii=[0.2]", "--data", "{corpus: null}", "--checkpoint", "folder"]
    assert list(with_files(args)) == args
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        ("fit --a 1 --config A", "fit --config A --a 1"),
        ("fit --a=1 --b --config=A", "fit --config=A --a=1 --b"),
        ("--config A fit --a 1 -c B", "--config A fit -c B --a 1"),
        ("--print_config fit --a 1 --config A", "--print_config fit --config A --a 1"),
        ("--a 1 --config A --b 2 --config B", "--config A --config B --a 1 --b 2"),
        ("--data A --config B", "--config B --data A"),
        ("--data.x 1 --data A --data B --config C", "--config C --data A --data B --data.x 1"),
        ("--data.corpus A --dataset 1 --data B", "--data B --data.corpus A --dataset 1"),
        ("--data.corpus Class --data.corpus.path A", "--data.corpus Class --data.corpus.path A"),
        ("--encoder Class --encoder.dim 2 --encoder A", "--encoder Class --encoder A --encoder.dim 2"),
    ],
)
def test_files_go_before_the_flags_that_are_about_what_they_hold(empty, args, expected):
    for name in "ABC":
        write(empty / f"{name}.yaml", {})
    names = {name: f"{name}.yaml" for name in "ABC"}
    args, expected = (
        ["=".join(names.get(word, word) for word in arg.split("=")) for arg in one.split()] for one in (args, expected)
    )
    assert with_files(args) == expected


FLAGS = ["--sigma", "0.5", "--data.num_test_speakers", "2", "--data.corpus.root=four"]


@pytest.mark.parametrize("place", [0, 2, 4, 5])
def test_flags_win_over_files_wherever_they_stand(place):
    files = ["--data=data/folders.yaml", "--config", NAME]
    _, plain = parse(certify_parser(), [*FLAGS[:place], *files, *FLAGS[place:]])
    assert (plain["sigma"], plain["data"]["num_test_speakers"]) == (0.5, 2)
    assert plain["data"]["corpus"]["init_args"]["root"] == "four"  # of folders, not of the corpus of the config


def test_flags_of_a_training_win_over_files_wherever_they_stand():
    args = [
        "--trainer.max_steps",
        "7",
        "--config",
        "train/demo.yaml",
        "--data.num_enroll=3",
        "--data",
        "data/espeak.yaml",
    ]
    cli = train(args, run=False)
    assert cli.trainer.max_steps == 7
    assert cli.datamodule.protocol.num_enroll == 3


def test_certify_takes_every_option_by_name(empty):
    write(empty / "encoder/campplus.yaml", {"class_path": "voxcert.encoders.ecapa.ECAPA", "init_args": {"dim": 8}})
    config, plain = parse(
        certify_parser(),
        ["--config", NAME, "--encoder", "encoder/campplus.yaml", "--purifier", "purifier/median.yaml"]
        + ["--data", "data/espeak.yaml", "--data.num_enroll=2"],
    )
    assert config.sigma == yaml.safe_load((CONFIGS / NAME).read_text())["sigma"]
    assert plain["encoder"]["init_args"]["dim"] == 8  # the local file
    assert plain["purifier"]["class_path"].endswith("MedianFilter")
    assert plain["data"]["corpus"]["class_path"].endswith("EspeakVoices")
    assert plain["data"]["num_enroll"] == 2


def test_train_takes_configs_by_name_and_what_they_refer_to(capsys):
    model = "voxcert.training.encoder_module.EncoderModule"
    args = ["--config", "train/demo.yaml", "--trainer.logger", "logger/csv.yaml"]
    cli = train(args, run=False)
    assert f"{type(cli.model).__module__}.{type(cli.model).__qualname__}" == model
    assert cli.datamodule.corpus.num_speakers == 24  # of ../data/espeak.yaml
    assert f"--trainer.logger reads {config_folder() / 'logger/csv.yaml'}" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["train", "certify", "purify"])
def test_a_config_that_is_nowhere_is_a_message(command, capsys):
    with pytest.raises(SystemExit, match="2"):
        main([command, *["fit"] * (command == "train"), "--config", "certify/nowhere.yaml"])
    assert capsys.readouterr().err.startswith("error: --config must be a YAML file or a config that comes with")
