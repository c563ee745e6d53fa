import pytest
import torch
import yaml

from voxcert.cli.train import train
from voxcert.data import write_manifest
from voxcert.encoders.checkpoint import read_card, save_checkpoint
from voxcert.purifiers import load_purifier
from voxcert.training.export import export

PURIFIER = {
    "class_path": "voxcert.purifiers.DiffusionPurifier",
    "init_args": {
        "network": {
            "class_path": "voxcert.purifiers.SpectralDiffWave",
            "init_args": {
                "conditioner": {
                    "class_path": "voxcert.purifiers.Conditioner",
                    "init_args": {"num_mels": 12, "dim": 8, "num_heads": 2},
                },
                "channels": 8,
                "num_layers": 2,
            },
        },
        "scheduler": {"class_path": "voxcert.purifiers.PurificationScheduler", "init_args": {"beta_end": 0.04}},
        "data_std": 0.06,
        "steps": "full",
    },
}


def test_command_line_and_export(espeak, encoder, tmp_path):
    save_checkpoint(encoder, tmp_path / "victim", {})
    write_manifest(espeak.utterances(), tmp_path / "manifest.csv")
    corpus = {"class_path": "voxcert.data.Manifest", "init_args": {"path": str(tmp_path / "manifest.csv")}}
    crops = {"crop_seconds": 0.5, "train_crop_seconds": 0.5, "batch_size": 4, "num_enroll": 2}
    logger = {
        "class_path": "lightning.pytorch.loggers.CSVLogger",
        "init_args": {"save_dir": str(tmp_path), "name": "tdap"},
    }
    callbacks = [
        {"class_path": "lightning.pytorch.callbacks.EMAWeightAveraging", "init_args": {"decay": 0.5}},
        {"class_path": "lightning.pytorch.callbacks.ModelCheckpoint"},
    ]
    trainer = {"max_epochs": 1, "accelerator": "cpu", "enable_progress_bar": False}
    attack = {"class_path": "voxcert.attacks.pgd", "init_args": {"epsilon": 0.01, "steps": 1}}
    config = {
        "data": {"corpus": corpus, "num_val_speakers": 2, "num_test_speakers": 2, **crops},
        "trainer": {**trainer, "logger": logger, "callbacks": callbacks},
        "model": {
            "class_path": "voxcert.training.purifier_module.PurifierModule",
            "init_args": {
                "purifier": PURIFIER,
                "text": {"class_path": "voxcert.purifiers.HashedText"},
                "noise": {"class_path": "voxcert.training.noise.Fixed", "init_args": {"sigma": 0.1}},
                "attack": attack,
                "victim": str(tmp_path / "victim"),
                "lr": 1e-2,
            },
        },
    }
    (tmp_path / "tdap.yaml").write_text(yaml.safe_dump(config))
    cli = train(["fit", "--config", str(tmp_path / "tdap.yaml")])
    checkpoint = next((tmp_path / "tdap" / "version_0" / "checkpoints").glob("*.ckpt"))
    folder = export(checkpoint, tmp_path / "folder", command="python train.py fit")
    loaded, state = load_purifier(folder), torch.load(checkpoint, weights_only=True)
    assert loaded.config == cli.model.purifier.config
    assert len(loaded.scheduler.timesteps) == 50
    for name, value in loaded.state_dict().items():  # the averages, not what was trained last
        assert torch.equal(value, state["state_dict"][f"purifier.{name}"])
    last = state["current_model_state"]
    assert any(not torch.equal(value, last[f"purifier.{name}"]) for name, value in loaded.state_dict().items())
    training = read_card(folder)["training"]
    assert training["averaged"]
    assert training["model"]["attack"]["class_path"] == "voxcert.attacks.pgd"
    assert training["model"]["victim"] == "victim", "a card says nothing of the machine"
    assert training["command"] == "python train.py fit"
    with pytest.raises(ValueError, match="target must not hold a checkpoint"):
        export(checkpoint, folder)
