"""A run is about its data: rows of other data are never continued, whatever their path."""

import csv

import numpy as np
import pytest
import soundfile
import torch

from voxcert.data import Manifest, SpeakerDataModule
from voxcert.evaluation.certification import CertificationSettings, certify_speakers
from voxcert.evaluation.run.job import Provenance


@pytest.fixture
def manifest(tmp_path):
    """Writes a manifest of four recordings for each of three speakers; `labels` says who speaks otherwise."""
    rng = np.random.default_rng(0)
    for speaker in range(3):
        for index in range(4):
            noise = 0.1 * rng.standard_normal(16_000)
            soundfile.write(tmp_path / f"{speaker}{index}.wav", noise, 16_000)

    def write(labels=None, files=None):
        with (tmp_path / "data.csv").open("w", newline="") as file:
            table = csv.writer(file)
            table.writerow(["path", "speaker", "part"])
            for name in files or [f"{speaker}{index}.wav" for speaker in range(3) for index in range(4)]:
                table.writerow([name, (labels or {}).get(name, f"s{name[0]}"), "test"])
        return Manifest(str(tmp_path / "data.csv"))

    return write


class Projection(torch.nn.Module):
    """A spectrum, normalised."""

    def forward(self, waveform):
        """(batch, time) -> (batch, 64)."""
        spectrum = torch.fft.rfft(waveform[:, :1600]).abs()[:, :64]
        return torch.nn.functional.normalize(spectrum, dim=-1)


@pytest.fixture
def certify(tmp_path):
    def run(corpus, **changes):
        settings = {"sigma": 0.01, "num_select": 4, "num_estimate": 20, "batch_size": 4, "accelerator": "cpu"}
        data = SpeakerDataModule(corpus=corpus, test_parts=["test"], num_enroll=2, crop_seconds=1, **changes)
        folder = str(tmp_path / "run")
        return certify_speakers(Projection().eval(), data, CertificationSettings(folder, **settings), Provenance("p"))

    return run


def test_a_corrected_label_is_other_data(manifest, certify):
    certify(manifest(labels={"13.wav": "s2"}))
    with pytest.raises(ValueError, match=r"made with other data: .*'13\.wav' \(enrol\)"):
        certify(manifest())


def test_other_audio_in_a_file_of_the_same_name_is_other_data(manifest, certify, tmp_path):
    certify(manifest())
    soundfile.write(tmp_path / "00.wav", np.tile([0.1, -0.1], 8000), 16_000)
    with pytest.raises(ValueError, match=r"other data: 1 changed: '00.*other audio"):
        certify(manifest())


def test_a_recording_more_or_less_is_other_data(manifest, certify, tmp_path):
    names = [f"{speaker}{index}.wav" for speaker in range(3) for index in range(4)]
    certify(manifest(files=names[:-1]))
    with pytest.raises(ValueError, match=r"made with other data: .* new: '23\.wav'"):
        certify(manifest())


def test_the_same_data_are_continued(manifest, certify):
    first = certify(manifest())
    assert certify(manifest())["rules"] == first["rules"]


def test_a_run_that_noted_nothing_is_not_continued(manifest, certify, tmp_path):
    certify(manifest())
    (tmp_path / "run" / "plan.jsonl").unlink()
    with pytest.raises(ValueError, match=r"hold a run that noted its data, got .*run without plan\.jsonl"):
        certify(manifest())
