"""A tiny audit: six speakers who hum, an encoder with random weights, a few noisy copies."""

from pathlib import Path

import pytest
import soundfile
import torch
from audited import DATA, TINY

from voxcert.data import SpeakerDataModule, SpeakerFolders
from voxcert.encoders.loading import load_encoder
from voxcert.evaluation.audit import AuditSettings, audit_encoder


@pytest.fixture(scope="session")
def humming(tmp_path_factory):
    """Six speakers with three recordings each: harmonics of a pitch of their own, in noise."""
    folder = tmp_path_factory.mktemp("humming")
    generator = torch.Generator().manual_seed(0)
    seconds = torch.arange(8000) / 16_000
    for number in range(6):
        (folder / f"speaker{number}").mkdir()
        tone = sum(torch.sin(2 * torch.pi * (90 + 60 * number) * k * seconds) / k for k in range(1, 20))
        for take in range(3):
            waveform = 0.05 * tone + 0.005 * torch.randn(8000, generator=generator)
            soundfile.write(folder / f"speaker{number}" / f"{take}.wav", waveform.numpy(), 16_000)
    return folder


@pytest.fixture(scope="session")
def audit(humming, checkpoint):
    """A function that audits into a folder; the encoder may be wrapped."""

    def run(folder: Path, wrap=lambda encoder: encoder, **changes):
        data = SpeakerDataModule(SpeakerFolders(str(humming)), **DATA)
        settings = AuditSettings(str(folder), **TINY | changes)
        return audit_encoder(wrap(load_encoder(str(checkpoint))).eval(), data, settings)

    return run


@pytest.fixture(scope="session")
def audited(audit, tmp_path_factory):
    """The folder of an undisturbed audit, and its plan."""
    folder = tmp_path_factory.mktemp("audited") / "audit"
    return folder, audit(folder)
