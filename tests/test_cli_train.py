"""`train.py` as a user meets it: flags, files and messages."""

import itertools
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile
import torch
import yaml

from voxcert.cli.train import train
from voxcert.data import write_manifest
from voxcert.encoders.checkpoint import read_card, save_checkpoint
from voxcert.encoders.ecapa import ECAPA
from voxcert.training.callbacks import CertificationCallback
from voxcert.training.export import export

CONFIGS = Path(__file__).parents[1] / "configs"


@pytest.fixture
def config(espeak, tmp_path):
    write_manifest(espeak.utterances(), tmp_path / "manifest.csv")
    tiny = {"channels": 16, "mfa_channels": 48, "dim": 24, "attention_channels": 8, "se_channels": 8}
    settings = {
        "data": {
            "corpus": {"class_path": "voxcert.data.Manifest", "init_args": {"path": str(tmp_path / "manifest.csv")}},
            "num_val_speakers": 2,
            "num_enroll": 2,
            "crop_seconds": 1.0,
            "train_crop_seconds": 0.5,
            "batch_size": 4,
        },
        "model": {
            "class_path": "voxcert.training.encoder_module.EncoderModule",
            "init_args": {
                "encoder": {"class_path": "voxcert.encoders.ecapa.ECAPA", "init_args": tiny},
                "lr": 0.001,
                "noise": {"class_path": "voxcert.training.noise.Fixed", "init_args": {"sigma": 0.01}},
            },
        },
        "trainer": {
            "max_epochs": 1,
            "accelerator": "cpu",
            "enable_progress_bar": False,
            "default_root_dir": str(tmp_path),
            "num_sanity_val_steps": 0,
            "logger": {
                "class_path": "lightning.pytorch.loggers.CSVLogger",
                "init_args": {"save_dir": str(tmp_path), "name": "runs"},
            },
        },
    }
    path = tmp_path / "experiment.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path


def last_checkpoint(tmp_path):
    return next((tmp_path / "runs" / "version_0" / "checkpoints").glob("*.ckpt"))


def test_fit_saves_config_and_a_checkpoint_without_pickled_objects(config, tmp_path):
    cli = train(["fit", "--config", str(config)])
    saved = yaml.safe_load((tmp_path / "runs" / "version_0" / "config.yaml").read_text())
    assert saved["model"]["init_args"]["lr"] == 0.001
    assert cli.model.criterion.weight.shape[0] == 4  # six speakers, two held out
    checkpoint = torch.load(last_checkpoint(tmp_path), weights_only=True)
    assert checkpoint["encoder_config"]["class_path"] == "voxcert.encoders.ECAPA"
    assert not [name for name in checkpoint["state_dict"] if not name.startswith(("encoder.", "criterion."))]


@pytest.mark.filterwarnings("ignore:The dirpath has changed:UserWarning")  # the resumed run has a folder of its own
def test_a_resumed_run_goes_on_and_flags_win_over_the_checkpoint(config, tmp_path, capsys):
    every_epoch = [
        "--trainer.callbacks+=ModelCheckpoint",
        "--trainer.callbacks.save_top_k=-1",
        "--trainer.callbacks.filename={epoch}",
        "--trainer.max_epochs=2",
    ]
    train(["fit", "--config", str(config), *every_epoch])
    checkpoint = tmp_path / "runs" / "version_0" / "checkpoints" / "epoch=0.ckpt"
    flags = ["--model.init_args.margin", "0.1", "--ckpt_path", str(checkpoint)]
    cli = train(["fit", "--config", str(config), *every_epoch, *flags])
    assert cli.model.hparams.margin == 0.1
    assert cli.trainer.global_step == 2 * torch.load(checkpoint, weights_only=True)["global_step"]
    saved = yaml.safe_load((tmp_path / "runs" / "version_1" / "config.yaml").read_text())
    assert saved["model"]["init_args"]["margin"] == 0.1

    with pytest.raises(SystemExit) as error:
        train(["fit", "--config", str(config), *every_epoch, "--trainer.max_epochs=3", "--ckpt_path", str(checkpoint)])
    assert error.value.code == 2
    assert re.search(r"must keep its \d+ steps .* with model.init_args.init_from", capsys.readouterr().err)


@pytest.mark.parametrize("recipe", ["trainer/default.yaml", "train/campplus_robust.yaml"])
def test_what_is_exported_as_last_is_the_end_though_its_certificates_are_worse(recipe, config, tmp_path, monkeypatch):
    def fall(self, trainer, pl_module):
        pl_module.log("certified/acr", 1 / trainer.global_step)

    monkeypatch.setattr(CertificationCallback, "on_validation_epoch_end", fall)
    given = yaml.safe_load((CONFIGS / recipe).read_text())
    given = given.get("trainer", given)
    when = {"check_val_every_n_epoch": 2} if "val_check_interval" not in given else {"val_check_interval": 3}
    settings = yaml.safe_load(config.read_text())
    settings["trainer"] = given | settings["trainer"] | {"max_epochs": -1, "max_steps": 9} | when
    config.write_text(yaml.safe_dump(settings))
    assert train(["fit", "--config", str(config)]).trainer.global_step == 9
    folder = tmp_path / "runs" / "version_0" / "checkpoints"
    assert {path.name for path in folder.iterdir()} == {"best.ckpt", "last.ckpt"}
    steps = [
        read_card(export(folder / f"{name}.ckpt", tmp_path / name))["training"]["steps"] for name in ("best", "last")
    ]
    assert 0 < steps[0] < steps[1] == 9


def test_without_a_logger_no_file_of_the_user_is_touched(config, tmp_path, monkeypatch):
    """What was trained, and with which flags, is in the checkpoint; no other config is taken for it."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    settings = yaml.safe_load(config.read_text())
    settings["trainer"] |= {"default_root_dir": None, "callbacks": [{"class_path": "ModelCheckpoint"}]}
    text = "# my notes\n" + yaml.safe_dump(settings)
    (folder / "config.yaml").write_text(text)
    for flag in ("--trainer.fast_dev_run=true", "--trainer.logger=false"):
        assert list(folder.iterdir()) == [folder / "config.yaml"]
        train(["fit", "--config", "config.yaml", flag, "--model.init_args.margin", "0.1"])
        assert (folder / "config.yaml").read_text() == text
    (checkpoint,) = (path for path in folder.rglob("*") if path.is_file() and path.name != "config.yaml")
    card = read_card(export(checkpoint, tmp_path / "exported"))
    assert card["training"]["model"]["margin"] == 0.1
    named = read_card(export(checkpoint, tmp_path / "named", config="config.yaml"))
    assert "margin" not in named["training"]["model"]


def test_the_synthetic_voices_replace_the_speech_of_a_recipe(espeak):
    """Also its parts, which they do not have."""
    swapped = ["--data", str(CONFIGS / "data/espeak.yaml"), "--trainer.accelerator", "cpu"]
    smaller = ["--data.corpus.num_speakers", "6", "--data.corpus.utterances_per_speaker", "4"]
    kept = [
        "--data.corpus.cache_dir",
        espeak.cache_dir,
        "--data.num_val_speakers",
        "2",
        "--data.num_test_speakers",
        "2",
    ]
    recipe = str(CONFIGS / "train/noise_augmented.yaml")
    assert train(["--config", recipe, *swapped, *smaller, *kept], run=False).datamodule.train_parts is None


def log_in_one_folder(config):
    settings = yaml.safe_load(config.read_text())
    settings["trainer"]["logger"]["init_args"]["version"] = "train"
    settings["trainer"]["log_every_n_steps"] = 1
    config.write_text(yaml.safe_dump(settings))


@pytest.mark.filterwarnings("ignore:Experiment logs directory")  # Lightning's own, whose metrics are set aside
@pytest.mark.filterwarnings("ignore:Checkpoint directory")
@pytest.mark.filterwarnings("ignore:The dirpath has changed:UserWarning")
def test_what_a_training_wrote_stays(config, tmp_path, capsys):
    """Under a folder with a fixed name, as demo.yaml has it."""
    log_in_one_folder(config)
    train(["fit", "--config", str(config)])
    folder = tmp_path / "runs" / "train"
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert b"train/loss" in before[folder / "metrics.csv"]
    (checkpoint,) = folder.rglob("*.ckpt")
    again = ["--config", str(config), "--ckpt_path", str(checkpoint)]
    with pytest.raises(SystemExit) as error:
        train(["validate", *again])
    assert error.value.code == 2
    assert "trainer.logger must log to a folder without a training" in capsys.readouterr().err
    for _ in range(2):  # a validation may be repeated
        train(["validate", *again, "--trainer.logger.init_args.version", "validation"])
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert (tmp_path / "runs" / "validation" / "validate.yaml").exists()
    train(["fit", *again])
    assert (folder / "metrics-1.csv").read_bytes() == before[folder / "metrics.csv"]


def test_the_default_trainer_works_without_a_logger(config, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(CertificationCallback, "on_validation_epoch_end", lambda *_: None)
    settings = yaml.safe_load(config.read_text())
    default = yaml.safe_load((CONFIGS / "trainer/default.yaml").read_text())
    callbacks = [one for one in default["callbacks"] if "monitor" not in one.get("init_args", {})]
    settings["trainer"] = default | settings["trainer"] | {"callbacks": callbacks, "logger": False}
    config.write_text(yaml.safe_dump(settings))
    assert train(["fit", "--config", str(config)]).trainer.global_step > 0


def test_other_precisions_are_refused_in_a_sentence(config, capsys):
    for precision in ("bf16-true", "64-true"):
        with pytest.raises(SystemExit) as error:
            train(["fit", "--config", str(config), "--trainer.precision", precision])
        assert error.value.code == 2
        assert f"must be one of 32-true, 16-mixed, bf16-mixed, got {precision}" in capsys.readouterr().err


def test_a_misspelt_key_is_named(config, capsys):
    with pytest.raises(SystemExit) as error:
        train(["fit", "--config", str(config), "--model.init_args.learning_rate", "1"])
    assert error.value.code == 2
    assert "learning_rate" in capsys.readouterr().err


def test_a_misspelt_yaml_key_is_named(config, capsys):
    settings = yaml.safe_load(config.read_text())
    settings["data"]["num_val_speaker"] = 2
    config.write_text(yaml.safe_dump(settings))
    with pytest.raises(SystemExit) as error:
        train(["fit", "--config", str(config)])
    assert error.value.code == 2
    assert "num_val_speaker" in capsys.readouterr().err


def test_bad_values_end_with_a_message_and_exit_2(config, capsys):
    with pytest.raises(SystemExit) as error:
        train(["fit", "--config", str(config), "--data.num_enroll", "0"])
    assert error.value.code == 2
    assert "num_enroll" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flag", "value", "expected"),
    [
        ("accelerator", "tpu", "trainer: "),
        ("max_epochs", "-5", "trainer: `max_epochs` must be"),
        ("strategy", "nope", "trainer: "),
        ("limit_train_batches", "-1", "trainer: You have passed invalid value -1"),
        ("profiler", "nope", "trainer: "),
        ("check_val_every_n_epoch", "0", "trainer.check_val_every_n_epoch must be at least 1, or null, got 0"),
        ("gradient_clip_val", "-1", "trainer.gradient_clip_val must be at least 0, or null, got -1"),
    ],
)
def test_mistakes_about_the_trainer_are_messages(config, capsys, flag, value, expected):
    with pytest.raises(SystemExit) as error:
        train(["fit", "--config", str(config), f"--trainer.{flag}={value}"])
    assert error.value.code == 2
    assert f"error: {expected}" in capsys.readouterr().err


def test_a_seed_out_of_range_is_a_message(config, capsys):
    with pytest.raises(SystemExit) as error:
        train(["fit", "--config", str(config), "--seed_everything=-3"])
    assert error.value.code == 2
    assert "error: seed_everything: -3 is not in bounds" in capsys.readouterr().err


def test_usage_names_the_command(capsys):
    for program in ("voxcert train", "python train.py"):
        with pytest.raises(SystemExit):
            train([], program=program)
        printed = capsys.readouterr().err
        assert f"usage: {program} " in printed
        assert f"run: {program} --help" in printed


def test_what_cannot_be_gone_on_from_or_tested_is_said_in_a_sentence(config, tmp_path, capsys):
    (tmp_path / "text.ckpt").write_text("hello")
    for arguments, message in (
        (["fit", "--ckpt_path", str(tmp_path / "missing.ckpt")], "missing.ckpt does not exist"),
        (["validate", "--ckpt_path", str(tmp_path / "text.ckpt")], "ckpt_path must be a checkpoint that a training"),
        (["test"], "model must have a test_step for `test`, got EncoderModule, which has none"),
    ):
        with pytest.raises(SystemExit) as error:
            train([*arguments, "--config", str(config)])
        assert error.value.code == 2
        assert message in capsys.readouterr().err


def test_flags_reach_a_model_that_is_handed_an_attack(config):
    settings = yaml.safe_load(config.read_text())
    settings["model"]["class_path"] = "voxcert.training.adversarial_module.AdversarialEncoderModule"
    attack = {"class_path": "voxcert.attacks.pgd", "init_args": {"epsilon": 0.1, "steps": 2}}
    settings["model"]["init_args"]["attack"] = attack
    config.write_text(yaml.safe_dump(settings))
    flags = ["--model.init_args.lr", "0.5", "--model.init_args.attack.init_args.epsilon", "0.2"]
    cli = train(["--config", str(config), *flags], run=False)
    assert cli.model.hparams.lr == 0.5
    assert cli.model.attack.keywords["epsilon"] == 0.2
    assert cli.model.attack.keywords["steps"] == 2


@pytest.fixture
def taught(config, tmp_path):
    """The experiment with a teacher, augmentations and averaged weights."""
    settings = yaml.safe_load(config.read_text())
    model = settings["model"]["init_args"]
    torch.manual_seed(0)
    save_checkpoint(ECAPA(**model["encoder"]["init_args"]), tmp_path / "start", {})
    background = {"folder": str(tmp_path / "music"), "snr_db": [5, 15]}
    (tmp_path / "music").mkdir()
    soundfile.write(tmp_path / "music" / "one.wav", 0.1 * torch.randn(32_000).numpy(), 16_000)
    model |= {
        "init_from": str(tmp_path / "start"),
        "freeze_statistics": True,
        "classification_weight": 0.0,
        "distillation": {"class_path": "voxcert.training.Distillation", "init_args": {"temperature": 0.1}},
        "augmentations": [
            {"class_path": "voxcert.training.Reverberation", "init_args": {"seconds": [0.1, 0.3]}},
            {"class_path": "voxcert.training.Babble"},
            {"class_path": "voxcert.training.Background", "init_args": background},
        ],
    }
    settings["trainer"] |= {
        "max_epochs": -1,
        "max_steps": 2,
        "callbacks": [
            {"class_path": "lightning.pytorch.callbacks.EMAWeightAveraging", "init_args": {"decay": 0.9}},
        ],
    }
    config.write_text(yaml.safe_dump(settings))
    return config


def test_a_taught_run_can_be_repeated_from_the_config_that_it_saved(taught, tmp_path):
    first = train(["fit", "--config", str(taught)])
    saved = tmp_path / "runs" / "version_0" / "config.yaml"
    again = train(["fit", "--config", str(saved)])
    assert again.model.distillation.temperature == 0.1
    assert again.model.augmentations[0].seconds == (0.1, 0.3)
    assert again.model.augmentations[2].snr_db == (5.0, 15.0)
    for name, value in first.model.state_dict().items():
        assert torch.equal(value, again.model.state_dict()[name])
    folder = export(last_checkpoint(tmp_path), tmp_path / "out")
    training = read_card(folder)["training"]
    assert training["averaged"] is True
    assert training["model"]["distillation"]["init_args"]["temperature"] == 0.1
    readme = (folder / "README.md").read_text()
    assert "started from: start\n- teacher: a copy of itself as it started" in readme


HEARD = """
import torch
from voxcert.training import EncoderModule

class Heard(EncoderModule):
    def _views(self, waveform):
        views = super()._views(waveform)
        torch.save(views - waveform, f"{self.trainer.default_root_dir}/noise-{self.global_rank}-{self.global_step}.pt")
        return views
"""


@pytest.mark.slow
def test_two_processes_are_taught(taught, tmp_path, monkeypatch):
    """No parameter is left out of the loss, where processes would wait for it; nor is the teacher shared or kept.

    Each draws noise of its own.
    """
    (tmp_path / "heard.py").write_text(HEARD)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    settings = yaml.safe_load(taught.read_text())
    settings["model"]["class_path"] = "heard.Heard"
    taught.write_text(yaml.safe_dump(settings))
    command = [sys.executable, "train.py", "fit", "--config", str(taught)]
    two = ["--trainer.devices", "2", "--trainer.strategy", "ddp"]
    done = subprocess.run([*command, *two], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    names = torch.load(last_checkpoint(tmp_path), weights_only=True)["state_dict"]
    assert {name.partition(".")[0] for name in names} == {"encoder"}
    drawn = [torch.load(path, weights_only=True) for path in sorted(tmp_path.glob("noise-*.pt"))]
    assert len(drawn) == 2 * 2
    for one, other in itertools.combinations(drawn, 2):
        assert not torch.allclose(one, other, atol=1e-4)
