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
    *_, last = with_files(["--checkpoint", "folder", *args])
    assert Path(last.removeprefix("--config=")).samefile(CONFIGS / NAME)
    assert capsys.readouterr().err == f"--config reads {config_folder() / NAME}\n"


def test_other_arguments_stay(capsys):
    args = ["one.yaml", "--radii", "[0.1]", "--radii=[0.2]", "--data", "{corpus: null}", "--checkpoint", "folder"]
    assert list(with_files(args)) == args
    assert capsys.readouterr().err == ""


def test_certify_takes_every_option_by_name(empty):
    write(empty / "encoder/campplus.yaml", {"class_path": "voxcert.encoders.ecapa.ECAPA", "init_args": {"dim": 8}})
    config, plain = parse(
        certify_parser("voxcert certify"),
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
