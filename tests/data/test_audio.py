import numpy as np
import pytest
import soundfile
import torch

from voxcert.data import AudioError, crop, load
from voxcert.data.audio import duration


def sine(seconds, rate, frequency=440.0):
    return 0.5 * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)


def test_reads_samples_as_they_are(write_audio):
    path = write_audio("a.wav", samples=np.array([0.0, 0.5, -0.25] * 1000))
    waveform = load(path)
    assert waveform.dtype == torch.float32
    assert waveform[:3].tolist() == [0.0, 0.5, -0.25]
    assert duration(path) == 3000 / 16_000


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000])
def test_resamples_to_16_khz(write_audio, rate):
    waveform = load(write_audio("a.wav", rate=rate, samples=sine(1.0, rate)))
    assert waveform.shape == (16_000,)
    expected = torch.from_numpy(sine(1.0, 16_000)).float()
    assert (waveform - expected)[500:-500].abs().max() < 5e-3


@pytest.mark.parametrize("ending", ["flac", "ogg", "mp3", "wav"])
def test_reads_formats(write_audio, ending):
    assert load(write_audio(f"a.{ending}", samples=sine(1.0, 16_000))).abs().max() == pytest.approx(0.5, abs=0.05)


def test_averages_channels(write_audio):
    left, right = np.full(4000, 0.5), np.tile([0.1, -0.1], 2000)
    waveform = load(write_audio("a.wav", samples=np.stack([left, right], axis=1)))
    assert waveform[:2].tolist() == pytest.approx([0.3, 0.2], abs=1e-4)


def test_reads_the_stretch_asked_for(write_audio):
    path = write_audio("a.flac", seconds=1.0)
    assert torch.equal(load(path, 0.25, 0.75), load(path)[4000:12_000])
    assert torch.equal(load(path, 0.25), load(path)[4000:])
    assert torch.equal(load(path, 0.25, 1.04), load(path)[4000:])  # an end that was rounded up


def test_clamps_a_small_overshoot(write_audio):
    waveform = load(write_audio("a.wav", samples=np.tile([1.5, -1.5], 4000), subtype="FLOAT"))
    assert waveform.abs().max() == 1.0


BAD_SAMPLES = {
    "NaN or infinity": np.array([0.1, np.nan] * 4000),
    "samples must be finite": np.array([0.1, np.inf] * 4000),
    "digitally silent": np.zeros(8000),
    "every sample is 0.25": np.full(8000, 0.25),
    "too short: at least 0.1 seconds are needed, got 0.050": np.tile([0.1, 0.2], 400),
    "empty: it has a header and no samples": np.zeros(0),
    r"samples must be in \[-1, 1\].*got a peak of 12000.*divided by 32768": np.tile([0.0, 12_000.0], 4000),
}


@pytest.mark.parametrize("reason", BAD_SAMPLES)
def test_bad_samples_are_named(write_audio, reason):
    path = write_audio("bad.wav", samples=BAD_SAMPLES[reason], subtype="FLOAT")
    with pytest.raises(AudioError, match=f"bad.wav.*{reason}"):
        load(path)


def test_bad_files_are_named(tmp_path, write_audio):
    with pytest.raises(AudioError, match="none.wav: missing: no such file"):
        load(tmp_path / "none.wav")
    with pytest.raises(AudioError, match="missing"):
        duration(tmp_path / "none.wav")
    (tmp_path / "empty.wav").touch()
    with pytest.raises(AudioError, match="empty.wav: empty: the file has 0 bytes"):
        load(tmp_path / "empty.wav")
    (tmp_path / "text.flac").write_text("this is no audio")
    with pytest.raises(AudioError, match="text.flac: not readable as audio, or corrupt"):
        load(tmp_path / "text.flac")
    torn = write_audio("torn.flac", seconds=2.0)
    torn.write_bytes(torn.read_bytes()[:20_000])
    with pytest.raises(AudioError, match="torn.flac.*corrupt"):
        load(torn)
    with pytest.raises(AudioError, match="not readable|missing"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("stretch", "reason"),
    [
        ((-1.0, None), r"start must be in \[0, 0.500\) seconds, got -1.0"),
        ((0.5, None), "start must be in .* got 0.5"),
        ((0.3, 0.3), r"end must be in \(0.3, 0.500\] seconds, got 0.3"),
        ((0.0, 0.9), "end must be in .* got 0.9"),
        ((0.1, 0.15), "too short"),
    ],
)
def test_bad_stretches_are_named(write_audio, stretch, reason):
    with pytest.raises(AudioError, match=f"a.wav.*{reason}"):
        load(write_audio("a.wav"), *stretch)


def test_a_silent_stretch_of_a_good_file_is_named(write_audio):
    path = write_audio("a.wav", samples=np.concatenate([sine(1.0, 16_000), np.zeros(16_000)]))
    assert len(load(path)) == 32_000
    with pytest.raises(AudioError, match=r"a.wav \(1 s to 2.0\): digitally silent"):
        load(path, 1.0, 2.0)


def test_crop():
    waveform = torch.arange(10.0)
    assert crop(waveform, 4).tolist() == [3, 4, 5, 6]
    assert crop(waveform[:3], 7).tolist() == [1, 2, 0, 1, 2, 0, 1]
    assert torch.equal(crop(waveform, 10), waveform)
    draws = {crop(waveform, 4, torch.Generator().manual_seed(seed))[0].item() for seed in range(60)}
    assert draws == {0, 1, 2, 3, 4, 5, 6}
    first, second = (crop(waveform, 4, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first, second)


def test_real_speech(librispeech):
    path = f"{librispeech}/train-clean-100/83/11691/83-11691-0000.flac"
    assert len(load(path)) == soundfile.info(path).frames
    assert 0.005 < load(path).square().mean().sqrt() < 0.3
