"""What tests of several packages listen to: real speech where it is at hand, and synthetic voices everywhere."""

import os
from pathlib import Path

import pytest
import torch

from tiny import TINY
from voxcert.data import EspeakVoices
from voxcert.encoders.checkpoint import save_checkpoint
from voxcert.encoders.ecapa import ECAPA


@pytest.fixture(scope="session")
def librispeech() -> str:
    """Folder of a small LibriSpeech with the parts train-clean-100 and test-other."""
    default = Path(__file__).parents[2] / "shared" / "data" / "librispeech-mini"
    folder = Path(os.environ.get("VOXCERT_LIBRISPEECH", default))
    if not folder.is_dir():
        pytest.skip(f"needs LibriSpeech at {folder}: set VOXCERT_LIBRISPEECH to a folder that holds its parts")
    return str(folder)


@pytest.fixture(scope="session")
def espeak(tmp_path_factory: pytest.TempPathFactory) -> EspeakVoices:
    """Six synthetic speakers with four utterances each, kept for the session."""
    pytest.importorskip("espeakng_loader", reason='needs espeak voices: pip install "voxcert[espeak]"')
    return EspeakVoices(num_speakers=6, utterances_per_speaker=4, cache_dir=str(tmp_path_factory.mktemp("espeak")))


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoint folder of a tiny encoder with random weights."""
    torch.manual_seed(0)
    card = {"license": "apache-2.0", "parameters": 1, "training": {}, "attribution": None, "metrics": []}
    folder = tmp_path_factory.mktemp("checkpoints") / "tiny"
    save_checkpoint(ECAPA(**TINY), folder, card)
    return folder
