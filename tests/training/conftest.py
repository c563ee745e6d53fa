"""A tiny training run: a few random-weight parameters, six synthetic voices."""

import lightning as L
import pytest
import torch

from voxcert.data import SpeakerDataModule
from voxcert.encoders.checkpoint import save_checkpoint
from voxcert.encoders.ecapa import ECAPA
from voxcert.training.encoder_module import EncoderModule
from voxcert.training.noise import Fixed


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    return ECAPA(channels=16, mfa_channels=48, dim=24, attention_channels=8, se_channels=8, res2net_scale=4)


@pytest.fixture
def victim(encoder, tmp_path):
    """Folder of a tiny encoder with random weights."""
    save_checkpoint(encoder, tmp_path / "victim", {})
    return str(tmp_path / "victim")


@pytest.fixture
def data(espeak):
    return SpeakerDataModule(
        espeak, num_val_speakers=2, num_enroll=2, crop_seconds=1.0, train_crop_seconds=0.5, batch_size=4
    )


@pytest.fixture
def module(encoder):
    return EncoderModule(encoder, num_classes=4, noise=Fixed(0.01))


@pytest.fixture
def trainer(tmp_path):
    """Makes trainers that write to `tmp_path` and show nothing."""

    def make(**options):
        defaults = {
            "accelerator": "cpu",
            "devices": 1,
            "max_epochs": 1,
            "logger": False,
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "num_sanity_val_steps": 0,
            "default_root_dir": tmp_path,
        }
        return L.Trainer(**(defaults | options))

    return make


@pytest.fixture
def save_the_first(tmp_path):
    """Has a trainer keep a checkpoint after the first epoch of a module; returns where."""

    def arrange(trainer, module):
        def save():
            if module.current_epoch == 0:
                trainer.save_checkpoint(tmp_path / "first.ckpt", weights_only=False)

        module.on_train_epoch_end = save
        return tmp_path / "first.ckpt"

    return arrange
