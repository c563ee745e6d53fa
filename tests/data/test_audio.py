import tracemalloc

import numpy as np
import pytest
import soundfile
import torch

from voxcert.data import AudioError, crop, load
from voxcert.data.audio import duration
from voxcert.data.audio_length import BLOCK_FRAMES


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


def test_samples_are_on_the_grid_of_exact_sums(write_audio):
    """For x and noise on the grid, x + noise is exact in float32 (Voracek and Hein, ICLR 2023)."""
    sources = {
        "16-bit": write_audio("pcm.wav"),
        "float": write_audio("float.wav", subtype="FLOAT"),
        "resampled": write_audio("cd.flac", rate=44_100),
        "lossy": write_audio("lossy.ogg"),
    }
    noise = (torch.randn(8000, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 2**20).round() / 2**20
    for name, path in sources.items():
        waveform = load(path)
        assert torch.equal(waveform * 2**20, (waveform * 2**20).round()), name
        total = waveform + noise[: len(waveform)].float()
        assert torch.equal(total.double(), waveform.double() + noise[: len(waveform)]), name
    exact, _ = soundfile.read(sources["16-bit"], dtype="float32")
    assert torch.equal(load(sources["16-bit"]), torch.from_numpy(exact))
    exact, _ = soundfile.read(sources["float"], dtype="float64")
    assert (load(sources["float"]).double() - torch.from_numpy(exact)).abs().max() <= 2**-21


def test_one_channel_of_a_telephone_call(write_audio):
    left, right = sine(1.0, 16_000), sine(1.0, 16_000, 1000.0)
    path = write_audio("call.wav", samples=np.stack([left, right], axis=1))
    for channel, own in enumerate((left, right)):
        assert (load(path, channel=channel) - torch.from_numpy(own)).abs().max() < 1e-4
        assert len(load(path, 0.2, 0.5, channel=channel)) == 4800
    with pytest.raises(AudioError, match=r"call.wav: channel must be in \[0, 1\], got 2"):
        load(path, channel=2)
    with pytest.raises(AudioError, match=r"a.wav: channel must be in \[0, 0\], got 1"):
        load(write_audio("a.wav"), channel=1)


@pytest.mark.parametrize("right", [-1.0, -0.9, -1.1])
def test_opposite_phase_is_named_for_what_it_is(write_audio, right):
    left = sine(1.0, 16_000)
    path = write_audio("phase.wav", samples=np.stack([left, right * left], axis=1))
    with pytest.raises(AudioError, match="phase.wav: its 2 channels are in opposite phase .* choose one of them"):
        load(path)
    assert load(path, channel=0).abs().max() == pytest.approx(0.5, abs=1e-3)


def test_ordinary_stereo_is_no_opposite_phase(write_audio):
    left, right = np.random.default_rng(0).normal(0, 0.1, (2, 16_000))
    for samples in ([left, right], [left, 0 * left], [left, -0.5 * left], [left, right - 0.6 * left]):
        assert load(write_audio("a.wav", samples=np.stack(samples, axis=1), subtype="FLOAT")).abs().max() > 0


def test_many_channels_are_averaged_block_by_block(write_audio):
    """All of them at once would fill the memory: 8 channels of two minutes at 384 kHz take 1.5 GB."""
    samples = np.random.default_rng(0).normal(0, 0.1, (BLOCK_FRAMES + 1000, 8)).astype(np.float32)
    path = write_audio("a.wav", samples=samples, subtype="FLOAT")
    tracemalloc.start()
    waveform = load(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (waveform - torch.from_numpy(samples.mean(axis=1))).abs().max() < 1e-6
    assert peak < 1.1 * BLOCK_FRAMES * 8 * 4


def test_names_that_no_file_can_have(tmp_path):
    for name in ("x" * 5000, "d/" * 2500 + "a.wav", "a\0b.wav"):
        with pytest.raises(AudioError, match="missing: no such file") as caught:
            load(tmp_path / name)
        assert len(str(caught.value)) < 300
        with pytest.raises(AudioError, match="missing: no such file"):
            duration(tmp_path / name)


@pytest.mark.parametrize("rate", [16_001, 44_101, 1_000, 640_000, 2_000_000_011])
def test_rates_of_a_damaged_header_are_refused(write_audio, rate):
    path = write_audio("a.wav")
    header = bytearray(path.read_bytes())
    header[24:28] = rate.to_bytes(4, "little")
    path.write_bytes(header)
    with pytest.raises(AudioError, match=f"a.wav: (the sampling rate must be .* got {rate}|not readable)"):
        load(path)


@pytest.mark.parametrize("error", [RuntimeError("boom"), MemoryError(), OverflowError("far"), TypeError("odd")])
def test_whatever_the_library_raises_is_an_audio_error(write_audio, monkeypatch, error):
    path = write_audio("a.wav")

    def read(*_, **__):
        raise error

    monkeypatch.setattr(soundfile.SoundFile, "read", read)
    with pytest.raises(AudioError, match="a.wav: not readable as audio, or corrupt"):
        load(path)


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


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"start": "0"}, "start must be a number of seconds, got '0'"),
        ({"start": None}, "start must be a number of seconds, got None"),
        ({"end": [1]}, "end must be a number of seconds"),
        ({"channel": "left"}, "channel must be a whole number"),
        ({"channel": 0.5}, "channel must be a whole number"),
        ({"channel": True}, "channel must be a whole number"),
    ],
)
def test_arguments_of_another_kind_are_named(write_audio, arguments, reason):
    with pytest.raises(ValueError, match=reason):
        load(write_audio("a.wav"), **arguments)


@pytest.mark.parametrize(
    "waveform", [np.zeros(10, "float32"), torch.zeros(2, 10), torch.zeros(0), [0.0, 1.0], torch.tensor(1.0)]
)
def test_a_crop_is_of_a_waveform(waveform):
    with pytest.raises(ValueError, match=r"waveform must be a tensor of shape \(time,\) with a sample, got"):
        crop(waveform, 5)
    with pytest.raises(ValueError, match="num_samples must be at least 1, got 0"):
        crop(torch.zeros(5), 0)
