"""Smoothing at a representation: rows say so, and radii are those of the representation, by a closed form."""

from dataclasses import replace

import pytest
import torch

from voxcert.data import Utterance
from voxcert.data.identity import planned
from voxcert.encoders.base import FeatureEncoder
from voxcert.encoders.frontends import Frontend
from voxcert.encoders.representation import SplitEncoder
from voxcert.evaluation.certification.folder import read_run
from voxcert.evaluation.certification.job import certify_speakers
from voxcert.evaluation.certification.represented import RepresentedData
from voxcert.evaluation.certification.settings import CertificationSettings
from voxcert.evaluation.certification.tables import statement

FRAME = 20


class Blocks(Frontend):
    """Frames without overlap: the magnitude of their spectrum, and its logarithm-free double as features."""

    num_bins = num_features = FRAME // 2 + 1

    def _magnitude(self, waveform):
        return torch.fft.rfft(waveform.unflatten(1, (-1, FRAME)), norm="ortho").abs()

    def _features(self, magnitude):
        return 2 * magnitude


class HalfSpaces(FeatureEncoder):
    """Answers one of two orthogonal unit vectors, on either side of a plane in the space of features."""

    dim = 2

    def __init__(self, normal, offset):
        super().__init__()
        self.frontend = Blocks()
        self.register_buffer("normal", normal / normal.norm())
        self.offset = offset

    def embed_features(self, features):
        """(batch, frames, bins) -> (batch, 2)."""
        side = features.flatten(1) @ self.normal > self.offset
        return torch.stack([side, ~side], dim=1).float()


class TwoSpeakers:
    """One loud and one soft speaker."""

    def __init__(self, time=200):
        noise = torch.randn(time, generator=torch.Generator().manual_seed(0))
        self.waveforms = {"soft": 0.05 * noise, "loud": 0.1 * noise}

    def enrollment_dataloader(self, stage):
        """One batch of both."""
        return [{"waveform": torch.stack(list(self.waveforms.values())), "speaker": list(self.waveforms)}]

    def tested(self, stage):
        """Who the tests are about."""
        return [Utterance(one["utterance"], one["utterance"], one["speaker"]) for one in self.items(stage)]

    def plan(self, stage, texts=False):
        """What the tests are about."""
        return planned([], self.tested(stage), texts)

    def items(self, stage):
        """Both, and a bad file."""
        tests = [{"utterance": name, "speaker": name, "waveform": w} for name, w in self.waveforms.items()]
        return [*tests, {"utterance": "bad", "speaker": "loud", "error": "bad.wav: empty"}]


@pytest.fixture
def job(tmp_path):
    data = TwoSpeakers()
    frontend = Blocks()
    soft, loud = (frontend(waveform[None]).flatten() for waveform in data.waveforms.values())
    normal = loud - soft
    middle = float((soft + loud) @ normal / (2 * normal.norm()))
    encoder = HalfSpaces(normal, middle).eval()
    settings = CertificationSettings(
        str(tmp_path / "run"), sigma=0.3, num_select=20, num_estimate=4000, rules=["vote"], accelerator="cpu"
    )
    return encoder, data, settings, float(normal.norm() / 2)


@pytest.mark.parametrize(("noise_at", "scale"), [("features", 1.0), ("magnitude", 0.5)])
def test_the_radius_is_the_distance_in_the_representation(job, noise_at, scale):
    encoder, data, settings, distance = job
    certify_speakers(encoder, data, replace(settings, noise_at=noise_at))
    bad, *rows = sorted(read_run(settings.output_dir), key=lambda row: row.utterance)
    assert {row.noise_at for row in (bad, *rows)} == {noise_at}
    assert bad.abstained == "bad.wav: empty"
    for row in rows:
        assert row.correct
        assert row.num_samples == 10 * (FRAME // 2 + 1)
        # The plane is `distance` away among features, and half of that among magnitudes: never beyond, and near it.
        assert row.radius <= scale * distance
        assert row.point_radius == pytest.approx(scale * distance, rel=0.2)
        assert row.waveform_norm == pytest.approx(float(norm(data, row.speaker) * 2 * scale), rel=1e-4)


def norm(data, speaker):
    return Blocks().magnitude(data.waveforms[speaker][None]).norm()


def test_the_statement_does_not_speak_of_the_waveform(job):
    encoder, data, settings, _ = job
    certify_speakers(encoder, data, replace(settings, noise_at="magnitude"))
    text = statement(read_run(settings.output_dir))
    assert "110 numbers of the utterance's magnitude (not to its waveform)" in text


def test_enrolment_hears_the_representation(job):
    encoder, data, *_ = job
    split = SplitEncoder(encoder, "magnitude")
    represented = RepresentedData(data, split, torch.device("cpu"))
    (batch,) = represented.enrollment_dataloader("test")
    assert batch["speaker"] == ["soft", "loud"]
    assert batch["waveform"].shape == (2, 110)
    torch.testing.assert_close(split(batch["waveform"]), torch.tensor([[0.0, 1.0], [1.0, 0.0]]))
    items = represented.items("test")
    assert len(items) == 3
    assert torch.equal(items[1]["waveform"], batch["waveform"][1])
    assert items[2]["error"] == "bad.wav: empty"


def test_bad_settings_are_named(job, toy, tmp_path):
    encoder, data, settings, _ = job
    with pytest.raises(ValueError, match="noise_at must be one of waveform, magnitude, features, got 'phase'"):
        replace(settings, noise_at="phase")
    with pytest.raises(ValueError, match="front-end, got LinearEncoder"):
        certify_speakers(*toy, replace(settings, noise_at="features"))
    certify_speakers(encoder, data, settings)
    with pytest.raises(ValueError, match="noise_at is 'waveform' there, got 'features'"):
        certify_speakers(encoder, data, replace(settings, noise_at="features"))
