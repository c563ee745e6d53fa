"""Records and tensors, no networks: audio files, corpora, enrolment and the data module."""

from voxcert.data.audio import SAMPLE_RATE, AudioError, crop, load
from voxcert.data.corpora import TIMIT, LibriSpeech, SpeakerFolders, VoxCeleb
from voxcert.data.corpus import Corpus, Utterance
from voxcert.data.datamodule import SpeakerDataModule
from voxcert.data.enrollment import (
    Trial,
    cut,
    enrollment_only,
    read_trials,
    split_enrollment,
    verification_trials,
)
from voxcert.data.espeak import EspeakVoices
from voxcert.data.manifest import Manifest, write_manifest
from voxcert.data.time_split import TimeSplit

__all__ = [
    "SAMPLE_RATE",
    "TIMIT",
    "AudioError",
    "Corpus",
    "EspeakVoices",
    "LibriSpeech",
    "Manifest",
    "SpeakerDataModule",
    "SpeakerFolders",
    "TimeSplit",
    "Trial",
    "Utterance",
    "VoxCeleb",
    "crop",
    "cut",
    "enrollment_only",
    "load",
    "read_trials",
    "split_enrollment",
    "verification_trials",
    "write_manifest",
]
