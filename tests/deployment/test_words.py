import pytest
import torch

from voxcert.deployment.words import AUDIBLE, answered, at_radius, promised
from voxcert.smoothing.certificate import Certificate
from voxcert.smoothing.prediction import Prediction

PREDICTION = {"utterance": "u", "classifier": "vote", "sigma": 0.1, "alpha": 0.001, "num_forwards": 64, "seed": 0}
CERTIFICATE = Certificate.failed("u", "", "vote", "too few votes", sigma=0.1, alpha=0.001, seed=0)


def test_answers_in_words():
    named = answered(Prediction(prediction="anna", abstained=None, score=0.714, **PREDICTION))
    assert named == "This is **anna**. It took 64 noisy copies of the recording. " + (
        "The mean cosine with their voice was 0.71."
    )
    nobody = answered(Prediction(prediction=None, abstained="no class is shown to win", **PREDICTION))
    assert nobody.startswith("I do not know who this is (no class is shown to win).")


def test_a_promise_rounds_the_radius_down_and_has_its_conditions():
    certificate = Certificate(
        **vars(CERTIFICATE) | {"abstained": None, "prediction": "anna", "radius": 0.01239, "num_samples": 48_000}
    )
    words = promised(certificate)
    for part in ("**anna**, or none", "the 3 s that are heard", "below **0.0123**", "probability of at most 0.001"):
        assert part in words
    assert "dB" not in words
    assert "41 dB below" in promised(Certificate(**vars(certificate) | {"snr_db": 40.2})), "40 dB would be louder"
    assert "40 dB below" in promised(Certificate(**vars(certificate) | {"snr_db": 40.0}))


def test_no_promise_says_why():
    assert promised(CERTIFICATE) == "Nothing is proved about this recording: too few votes."


def test_noise_has_the_norm_of_the_radius():
    waveform = 0.1 * torch.sin(torch.arange(16_000) * 0.05)
    together, alone, louder = at_radius(waveform, 0.02)
    assert (together - waveform).norm().item() == pytest.approx(0.02, rel=1e-3)
    assert alone.square().mean().sqrt().item() == pytest.approx(AUDIBLE, rel=1e-3)
    assert alone.norm().item() / 0.02 == pytest.approx(10 ** (louder / 20), rel=1e-3)
