"""Real speakers, enrolled with a trained encoder."""

from pathlib import Path

import pytest
import torch

from voxcert import load_encoder
from voxcert.data import LibriSpeech
from voxcert.data.enrollment import by_speaker
from voxcert.encoders.base import enroll

CHECKPOINT = Path(__file__).parents[2] / "checkpoints" / "ecapa-mini"
TIME = 32_000


@pytest.fixture(scope="session")
def speech(librispeech):
    """A recognizer of four speakers, and a waveform (4, time) and the label of each."""
    groups = list(by_speaker(LibriSpeech(librispeech, parts=["test-other"]).utterances()).items())[:4]
    enrolled = [
        {"waveform": torch.stack([one.load()[:TIME] for one in own[1:4]]), "speaker": [speaker] * 3}
        for speaker, own in groups
    ]
    recognizer = enroll(load_encoder(CHECKPOINT), enrolled)
    return recognizer, torch.stack([own[0].load()[:TIME] for _, own in groups]), torch.arange(len(groups))
