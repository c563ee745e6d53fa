import pytest
import torch
import torchaudio

from voxcert.encoders import QuietFrames


def colour(waveform):
    """Mean log-mel spectrum of a whole waveform, by torchaudio, its own mean subtracted."""
    bank = torchaudio.compliance.kaldi.fbank(
        32768 * waveform[None], num_mel_bins=80, window_type="povey", dither=0.0, sample_frequency=16000
    )
    spectrum = bank.mean(dim=0)
    return torch.nn.functional.normalize(spectrum - spectrum.mean(), dim=0)


def test_hears_the_quiet_part_alone():
    generator = torch.Generator().manual_seed(0)
    hiss = 1e-3 * torch.randn(16000, generator=generator)
    hum = torchaudio.functional.lowpass_biquad(hiss, 16000, cutoff_freq=400)
    loud = 0.3 * torch.randn(48000, generator=generator)
    encoder = QuietFrames(share=0.2)
    for silence in (hiss, hum):
        with_speech = encoder(torch.cat([loud, silence])[None])[0]
        assert with_speech @ colour(silence[400:-400]) > 0.99
    assert colour(hiss) @ colour(hum) < 0


def test_loudness_does_not_matter():
    waveform = 0.1 * torch.randn(1, 16000, generator=torch.Generator().manual_seed(0))
    encoder = QuietFrames()
    torch.testing.assert_close(encoder(waveform), encoder(0.25 * waveform), atol=1e-4, rtol=0)


def test_one_short_waveform_has_one_quietest_frame():
    assert QuietFrames()(0.1 * torch.randn(1, 400, generator=torch.Generator().manual_seed(0))).norm() > 0.99


@pytest.mark.parametrize("share", [0.0, 1.1, float("nan")])
def test_refuses_another_share(share):
    with pytest.raises(ValueError, match=r"share must be in \(0, 1\], got"):
        QuietFrames(share=share)
