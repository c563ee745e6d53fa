import math
import sys
import warnings

import pytest
import torch

from voxcert.data import LibriSpeech
from voxcert.evaluation.metrics.speech_quality import METRICS, Quality, csqi, mean_quality, speech_quality

pytest.importorskip("pesq")


@pytest.fixture(scope="module")
def speech(librispeech):
    return LibriSpeech(librispeech, ["test-other"]).utterances()[0].load()[:48_000]


def noise(speech, seed=0):
    return torch.randn(speech.shape, generator=torch.Generator().manual_seed(seed))


def ratio_db(signal, distortion):
    return 10 * math.log10(signal.square().sum() / distortion.square().sum())


def test_ratios_are_their_definitions(speech):
    processed = 0.7 * speech + 0.01 * noise(speech)
    quality = speech_quality(speech, processed)
    exact, other = speech.double(), processed.double()
    projection = (other @ exact) / (exact @ exact) * exact
    assert quality.si_sdr_db == pytest.approx(ratio_db(projection, other - projection), abs=1e-6)
    assert quality.snr_db == pytest.approx(ratio_db(exact, other - exact), abs=1e-6)
    assert quality.reasons == {}
    assert speech_quality(speech, 0.5 * processed).si_sdr_db == pytest.approx(quality.si_sdr_db, abs=1e-4)


def test_every_metric_falls_with_noise(speech):
    levels = [speech_quality(speech, speech + sigma * noise(speech)) for sigma in (0.001, 0.01, 0.1)]
    for name in METRICS:
        loud, louder, loudest = (getattr(quality, name) for quality in levels)
        assert loud > louder > loudest, name


def test_agrees_with_the_packages_themselves(speech):
    import pesq
    from pystoi import stoi

    processed = speech + 0.01 * noise(speech)
    quality = speech_quality(speech, processed)
    assert quality.stoi == pytest.approx(stoi(speech.double().numpy(), processed.double().numpy(), 16_000), abs=1e-6)
    assert quality.pesq == pytest.approx(pesq.pesq(16_000, speech.numpy(), processed.numpy(), "wb"), abs=1e-5)


def test_what_was_not_changed_has_the_best_scores_and_no_ratio(speech):
    quality = speech_quality(speech, speech)
    assert quality.stoi == pytest.approx(1)
    assert quality.pesq == pytest.approx(4.644, abs=1e-3)
    assert quality.reasons == dict.fromkeys(["si_sdr_db", "snr_db"], "nothing was changed")
    assert math.isnan(quality.si_sdr_db)


def test_silence_and_what_is_not_finite_are_reasons(speech):
    for clean, processed, reason in (
        (torch.zeros(48_000), speech, "the clean waveform is silent"),
        (speech, torch.zeros(48_000), "the processed waveform is silent"),
        (speech, speech / 0, "a waveform is not finite"),
    ):
        quality = speech_quality(clean, processed)
        assert quality.reasons == dict.fromkeys(METRICS, reason)
        assert all(math.isnan(getattr(quality, name)) for name in METRICS)


@pytest.mark.parametrize("num_samples", [100, 1600])
def test_short_audio_has_ratios_and_reasons_without_a_warning(speech, num_samples):
    clean = speech[20_000:][:num_samples]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        quality = speech_quality(clean, clean + 0.01 * noise(clean))
    assert quality.reasons.keys() == {"stoi", "pesq"}
    assert "1/4 of a second" in quality.reasons["pesq"]
    assert math.isnan(quality.stoi)
    assert quality.si_sdr_db > 0


def test_without_the_package_pesq_has_a_reason(speech, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchmetrics.functional.audio.pesq", None)
    quality = speech_quality(speech, speech + 0.01 * noise(speech))
    assert quality.reasons.keys() == {"pesq"}
    assert quality.stoi > 0.5


def test_shapes_are_named():
    with pytest.raises(ValueError, match=r"must have one shape \(time,\), got \(3,\) and \(4,\)"):
        speech_quality(torch.ones(3), torch.ones(4))
    with pytest.raises(ValueError, match="must have one shape"):
        speech_quality(torch.ones(2, 3), torch.ones(2, 3))


def test_csqi_is_that_of_the_paper_and_rewards_errors_below_zero():
    # Rows of Tables 2 and 3 of the TDAP paper: median filter and noise under l2, DAP under l-infinity.
    assert csqi(0.630, 1.139, 1.049, 0.29268) == pytest.approx(1.993, abs=1e-3)
    assert csqi(0.812, 1.243, 8.548, 0.04131) == pytest.approx(10.165, abs=1e-3)
    assert csqi(0.746, 1.148, 5.667, 0.04082) == pytest.approx(7.252, abs=1e-3)
    assert csqi(0.5, 1, -14, error_rate=0.4) > csqi(0.5, 1, -14, error_rate=0.1)


def test_means_leave_out_what_could_not_be_measured():
    bad = Quality(0.5, float("nan"), 10, float("nan"), {"pesq": "too short", "snr_db": "nothing was changed"})
    means = mean_quality([Quality(0.7, 2.0, 20, float("nan"), {"snr_db": "nothing was changed"}), bad])
    assert means["stoi"] == pytest.approx(0.6)
    assert means["pesq"] == 2.0
    assert means["si_sdr_db"] == 15
    assert math.isnan(means["snr_db"])
