"""Records and tensors, no networks: audio files, corpora, enrolment and the data module."""

from voxcert.data.audio import SAMPLE_RATE, AudioError, crop, load
from voxcert.data.combined import Combined
from voxcert.data.corpora import TIMIT, LibriSpeech, SpeakerFolders, VoxCeleb
from voxcert.data.corpus import Corpus, Refused
from voxcert.data.datamodule import SpeakerDataModule
from voxcert.data.enrollment import cut, enrollment_only, split_enrollment
from voxcert.data.espeak import EspeakVoices
from voxcert.data.files import PassedOver
from voxcert.data.identity import Planned, check_labels, check_plan, plan_hash, planned, read_plan, write_plan
from voxcert.data.kaldi import Kaldi
from voxcert.data.lhotse import Lhotse
from voxcert.data.listed import Listed, listed
from voxcert.data.manifest import Manifest, write_manifest
from voxcert.data.time_split import TimeSplit
from voxcert.data.trials import Trial, read_trials, verification_trials
from voxcert.data.utterance import Utterance

__all__ = [
    "SAMPLE_RATE",
    "TIMIT",
    "AudioError",
    "Combined",
    "Corpus",
    "EspeakVoices",
    "Kaldi",
    "Lhotse",
    "LibriSpeech",
    "Listed",
    "Manifest",
    "PassedOver",
    "Planned",
    "Refused",
    "SpeakerDataModule",
    "SpeakerFolders",
    "TimeSplit",
    "Trial",
    "Utterance",
    "VoxCeleb",
    "check_labels",
    "check_plan",
    "crop",
    "cut",
    "enrollment_only",
    "listed",
    "load",
    "plan_hash",
    "planned",
    "read_plan",
    "read_trials",
    "split_enrollment",
    "verification_trials",
    "write_manifest",
    "write_plan",
]
