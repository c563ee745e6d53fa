"""A tiny audit: four speakers who hum, an encoder with random weights, a few noisy copies."""

from pathlib import Path

import pytest
from audited import DATA, TINY

from voxcert.data import SpeakerDataModule, SpeakerFolders
from voxcert.encoders.loading import load_encoder
from voxcert.evaluation.audit import AuditSettings, audit_encoder
from voxcert.evaluation.run.job import Provenance


@pytest.fixture(scope="session")
def audit(voices, checkpoint):
    """A function that audits into a folder; the encoder may be wrapped."""

    def run(folder: Path, wrap=lambda encoder: encoder, **changes):
        data = SpeakerDataModule(SpeakerFolders(str(voices)), **DATA)
        settings = AuditSettings(str(folder), **TINY | changes)
        return audit_encoder(wrap(load_encoder(str(checkpoint))).eval(), data, settings, Provenance("the tiny one"))

    return run


@pytest.fixture(scope="session")
def audited(audit, tmp_path_factory):
    """The folder of an undisturbed audit, and its plan."""
    folder = tmp_path_factory.mktemp("audited") / "audit"
    return folder, audit(folder)
