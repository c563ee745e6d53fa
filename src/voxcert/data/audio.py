"""Reads audio files into 16 kHz mono waveforms and crops them to a fixed length.

Everything that can be wrong with a file is found here, once, and reported as an `AudioError` that names the file.
"""

from fractions import Fraction
from functools import lru_cache
from pathlib import Path

import soundfile
import torch
from torch import Tensor
from torchaudio.transforms import Resample

SAMPLE_RATE = 16_000
MAX_PEAK = 2.0  # lossy decoders and float mixes overshoot 1.0 a little; more is a file on another scale
END_SLACK_SECONDS = 0.05  # an end time that was rounded in a manifest may lie just behind the last sample


class AudioError(ValueError):
    """An audio file that cannot be used; the message names the file, what is allowed and what was found."""


def load(path: str | Path, start: float = 0.0, end: float | None = None, min_seconds: float = 0.1) -> Tensor:
    """Read an audio file, or a stretch of it, as a 16 kHz mono waveform in [-1, 1].

    Channels are averaged and other sampling rates are resampled. Samples of float files that overshoot [-1, 1] by
    up to a factor of `MAX_PEAK` are clamped, as a player would; more than that is an error, because such a file is
    on another scale (16-bit numbers stored as floats, usually) and amplitudes are what certificates speak of.

    Args:
        path: Any format that libsndfile reads (WAV, FLAC, OGG, MP3, NIST SPHERE, ...).
        start: First second to read.
        end: Second to stop at; the end of the file when None.
        min_seconds: Least acceptable length of what was read.

    Returns:
        Waveform of shape (time,), float32.

    Raises:
        AudioError: The file is missing, corrupt, empty, shorter than asked for, contains NaN or infinity, is
            constant (digitally silent), or exceeds `MAX_PEAK`.
    """
    name = str(path) if start == 0 and end is None else f"{path} ({start:g} s to {'end' if end is None else end})"
    try:
        with soundfile.SoundFile(path) as file:
            first, count = _frames(file, name, start, end, min_seconds)
            file.seek(first)
            samples = torch.from_numpy(file.read(count, dtype="float32", always_2d=True))
            rate = file.samplerate
    except (soundfile.SoundFileError, OSError) as error:
        raise _unreadable(path, error) from error
    if len(samples) < count:
        raise AudioError(f"{name}: corrupt: {count} frames announced, {len(samples)} could be decoded")
    waveform = samples.mean(dim=1)
    _check_values(waveform, name)
    return resample(waveform, Fraction(SAMPLE_RATE, rate)).clamp(-1.0, 1.0)


def duration(path: str | Path) -> float:
    """Length of an audio file in seconds, from its header.

    Args:
        path: Audio file.

    Raises:
        AudioError: The file is missing or not readable as audio.
    """
    try:
        return soundfile.info(path).duration
    except (soundfile.SoundFileError, OSError) as error:
        raise _unreadable(path, error) from error


def resample(waveform: Tensor, ratio: Fraction) -> Tensor:
    """Resample a waveform so that it has `ratio` times as many samples; the filter kernels are kept.

    Args:
        waveform: Shape (..., time).
        ratio: New rate / old rate.

    Returns:
        Waveform of shape (..., ceil(time * ratio)).
    """
    return waveform if ratio == 1 else _resampler(ratio)(waveform)


def crop(waveform: Tensor, num_samples: int, generator: torch.Generator | None = None) -> Tensor:
    """Cut a waveform to a fixed length, repeating it first where it is too short.

    Args:
        waveform: Shape (time,), at least one sample.
        num_samples: Length of the result.
        generator: Draws the place of a random crop; the crop is central when None.

    Returns:
        Waveform of shape (num_samples,).
    """
    if len(waveform) < num_samples:
        waveform = waveform.repeat(-(-num_samples // len(waveform)))
    spare = len(waveform) - num_samples
    first = spare // 2 if generator is None else int(torch.randint(spare + 1, (), generator=generator))
    return waveform[first : first + num_samples]


@lru_cache(maxsize=32)
def _resampler(ratio: Fraction) -> Resample:
    return Resample(ratio.denominator, ratio.numerator)


def _frames(
    file: soundfile.SoundFile, name: str, start: float, end: float | None, min_seconds: float
) -> tuple[int, int]:
    """First frame and number of frames of a stretch, checked against what the file has."""
    seconds = file.frames / file.samplerate
    if file.frames == 0:
        raise AudioError(f"{name}: empty: it has a header and no samples")
    if not 0 <= start < seconds:
        raise AudioError(f"{name}: start must be in [0, {seconds:.3f}) seconds, got {start}")
    if end is not None and not start < end <= seconds + END_SLACK_SECONDS:
        raise AudioError(f"{name}: end must be in ({start}, {seconds:.3f}] seconds, got {end}")
    first = round(start * file.samplerate)
    last = file.frames if end is None else min(file.frames, round(end * file.samplerate))
    if last - first < min_seconds * file.samplerate:
        length = (last - first) / file.samplerate
        raise AudioError(f"{name}: too short: at least {min_seconds} seconds are needed, got {length:.3f}")
    return first, last - first


def _check_values(waveform: Tensor, name: str) -> None:
    if not waveform.isfinite().all():
        raise AudioError(f"{name}: samples must be finite, got NaN or infinity")
    low, high = waveform.aminmax()
    if low == high:
        raise AudioError(f"{name}: digitally silent: every sample is {low.item():g}")
    peak = max(-low.item(), high.item())
    if peak > MAX_PEAK:
        raise AudioError(
            f"{name}: samples must be in [-1, 1] (up to {MAX_PEAK:g} is clamped), got a peak of {peak:g}; "
            "16-bit numbers stored as floats must be divided by 32768"
        )


def _unreadable(path: str | Path, error: Exception) -> AudioError:
    if not Path(path).is_file():
        return AudioError(f"{path}: missing: no such file")
    if Path(path).stat().st_size == 0:
        return AudioError(f"{path}: empty: the file has 0 bytes")
    return AudioError(f"{path}: not readable as audio, or corrupt ({error})")
