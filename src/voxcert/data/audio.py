"""Reads audio files into 16 kHz mono waveforms and crops them to a fixed length.

Everything that can be wrong with a file is found here, once, and reported as an `AudioError` that names the file.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from functools import lru_cache
from math import gcd
from numbers import Integral, Real
from pathlib import Path

import torch
from torch import Tensor
from torchaudio.transforms import Resample

from voxcert.data.audio_length import BLOCK_FRAMES, END_SLACK_SECONDS, AudioError, AudioReader, count_frames
from voxcert.data.paths import is_file, printable, shown

SAMPLE_RATE = 16_000
MAX_PEAK = 2.0  # lossy decoders and float mixes overshoot 1.0 a little; more is a file on another scale
STEPS = 1 << 20  # a waveform's samples are multiples of 1 / STEPS
CANCELLED = 0.01  # share of the channels' power that is left of it in their average: 20 dB are lost
LEAST_RATE, MOST_RATE = 4_000, 384_000
MAX_KERNEL = 20_000_000  # numbers in a resampling kernel: a rate such as 16,001 Hz would take a gigabyte


def load(
    path: str | Path,
    start: float = 0.0,
    end: float | None = None,
    min_seconds: float = 0.1,
    channel: int | None = None,
) -> Tensor:
    """Read an audio file, or a stretch of it, as a 16 kHz mono waveform in [-1, 1].

    Channels are averaged and other sampling rates are resampled. Samples of float files that overshoot [-1, 1] by
    up to a factor of `MAX_PEAK` are clamped, as a player would; more than that is an error, because such a file is
    on another scale (16-bit numbers stored as floats, usually) and amplitudes are what certificates speak of.

    Last, samples are rounded to multiples of 2^-20, because a certificate is about the numbers that the network
    receives, and on that grid the sum of a waveform and of noise from the grid is exact in float32 (the repair of
    Voracek and Hein, ICLR 2023, needs this). Audio of 16 or 20 bits is on it already.

    Args:
        path: Any format that libsndfile reads (WAV, FLAC, OGG, MP3, NIST SPHERE, ...).
        start: First second to read.
        end: Second to stop at; the end of the file when None.
        min_seconds: Least acceptable length of what was read.
        channel: Which channel to read, 0 being the first, such as one side of a telephone call; their average
            when None.

    Returns:
        Waveform of shape (time,), float32.

    Raises:
        AudioError: The file is missing, corrupt, empty, shorter than asked for or than its header announces, has no
            such channel, contains NaN or infinity, is constant (digitally silent), exceeds `MAX_PEAK`, or its
            channels cancel each other (opposite phase). Whatever else the audio library raises becomes one, too.
        ValueError: An argument is of another kind.
    """
    _check_arguments(start, end, min_seconds, channel)
    stretch = "" if start == 0 and end is None else f" ({start:g} s to {'end' if end is None else end})"
    name = f"{shown(path)}{stretch}"
    with _errors(path):
        with AudioReader(path) as file:
            _check_rate(file.samplerate, name)
            first, count = _frames(file, path, name, start, end, min_seconds)
            waveform, rate = _read(file, first, count, channel, name), file.samplerate
        _check_values(waveform, name)
        waveform = on_grid(resample(waveform, Fraction(SAMPLE_RATE, rate)).clamp(-1.0, 1.0))
        check_audible(waveform, name)
    return waveform


def duration(path: str | Path) -> float:
    """Length of an audio file in seconds, from its header; a stream that does not know its length is decoded.

    Args:
        path: Audio file.

    Raises:
        AudioError: The file is missing, not readable as audio, or ends before what its header announces.
    """
    with _errors(path), AudioReader(path) as file:
        _check_rate(file.samplerate, shown(path))
        return count_frames(file, path, shown(path)) / file.samplerate


def num_channels(path: str | Path) -> int:
    """Number of channels of an audio file.

    Args:
        path: Audio file.

    Raises:
        AudioError: The file is missing or not readable as audio.
    """
    with _errors(path), AudioReader(path) as file:
        return file.channels


def resample(waveform: Tensor, ratio: Fraction) -> Tensor:
    """Resample a waveform so that it has `ratio` times as many samples; the filter kernels are kept.

    Args:
        waveform: Shape (..., time).
        ratio: New rate / old rate.

    Returns:
        Waveform of shape (..., ceil(time * ratio)).
    """
    return waveform if ratio == 1 else _resampler(ratio)(waveform)


def on_grid(waveform: Tensor) -> Tensor:
    """Round samples to multiples of 1 / `STEPS`; float32 holds every such number in [-1, 1] exactly.

    Args:
        waveform: Any shape.
    """
    return (waveform * STEPS).round() / STEPS


def check_audible(waveform: Tensor, name: str) -> None:
    """Check that there is something to hear.

    Args:
        waveform: Shape (time,).
        name: Of the file and the stretch, for the message.

    Raises:
        AudioError: Every sample is the same.
    """
    low, high = waveform.aminmax()
    if low == high:
        raise AudioError(f"{name}: digitally silent: every sample is {low.item():g}")


def crop(waveform: Tensor, num_samples: int, generator: torch.Generator | None = None) -> Tensor:
    """Cut a waveform to a fixed length, repeating it first where it is too short.

    Args:
        waveform: Shape (time,), at least one sample.
        num_samples: Length of the result.
        generator: Draws the place of a random crop; the crop is central when None.

    Returns:
        Waveform of shape (num_samples,).

    Raises:
        ValueError: The waveform is no tensor of that shape, or the length is below 1.
    """
    if not isinstance(waveform, Tensor) or waveform.ndim != 1 or not len(waveform):
        shape = tuple(getattr(waveform, "shape", ()))
        raise ValueError(
            f"waveform must be a tensor of shape (time,) with a sample, got {type(waveform).__name__} of shape {shape}"
        )
    if num_samples < 1:
        raise ValueError(f"num_samples must be at least 1, got {num_samples}")
    if len(waveform) < num_samples:
        waveform = waveform.repeat(-(-num_samples // len(waveform)))
    spare = len(waveform) - num_samples
    first = spare // 2 if generator is None else int(torch.randint(spare + 1, (), generator=generator))
    return waveform[first : first + num_samples]


def _check_arguments(start: float, end: float | None, min_seconds: float, channel: int | None) -> None:
    for name, value in {"start": start, "end": end, "min_seconds": min_seconds}.items():
        if not (isinstance(value, Real) or (value is None and name == "end")):
            raise ValueError(f"{name} must be a number of seconds, got {value!r}")
    if channel is not None and (isinstance(channel, bool) or not isinstance(channel, Integral)):
        raise ValueError(f"channel must be a whole number (0 is the first) or None, got {channel!r}")


@lru_cache(maxsize=32)
def _resampler(ratio: Fraction) -> Resample:
    return Resample(ratio.denominator, ratio.numerator)


@contextmanager
def _errors(path: str | Path) -> Iterator[None]:
    """Turns whatever goes wrong with a file into an AudioError: which errors a library raises is its own affair."""
    if not is_file(path):  # and no pipe, which would be waited for
        raise AudioError(f"{shown(path)}: missing: no such file")
    if printable(str(path)) != str(path):
        raise AudioError(f"{shown(path)}: a name must be UTF-8 text; rename the file")
    try:
        yield
    except AudioError:
        raise
    except Exception as error:
        raise _unreadable(path, error) from error


def _read(file: AudioReader, first: int, count: int, channel: int | None, name: str) -> Tensor:
    """One channel, or the average of all, of `count` frames from the first one on, shape (count,).

    In blocks: a count may be a lie, and all channels at once may fill the memory.
    """
    if channel is not None and not 0 <= channel < file.channels:
        raise AudioError(f"{name}: channel must be in [0, {file.channels - 1}], got {channel}")
    if first:
        file.seek(first)
    blocks, missing, power = [torch.empty(0)], count, 0.0
    while missing > 0:
        block = torch.from_numpy(file.read(min(missing, BLOCK_FRAMES), dtype="float32", always_2d=True))
        if not len(block):
            raise AudioError(f"{name}: corrupt: {count} frames announced, {count - missing} could be decoded")
        blocks.append(block.mean(dim=1) if channel is None else block[:, channel].clone())
        power += block.double().square().sum().item()
        missing -= len(block)
    waveform = torch.cat(blocks)
    if channel is None and file.channels * waveform.double().square().sum() < CANCELLED * power:
        raise AudioError(
            f"{name}: its {file.channels} channels are in opposite phase and cancel each other in their average; "
            "choose one of them (channel 0 is the first)"
        )
    return waveform


def _frames(
    file: AudioReader, path: str | Path, name: str, start: float, end: float | None, min_seconds: float
) -> tuple[int, int]:
    """First frame and number of frames of a stretch, checked against what the file has."""
    frames = count_frames(file, path, name)
    seconds = frames / file.samplerate
    if frames == 0:
        raise AudioError(f"{name}: empty: it has a header and no samples")
    if not 0 <= start < seconds:
        raise AudioError(f"{name}: start must be in [0, {seconds:.3f}) seconds, got {start}")
    if end is not None and not start < end <= seconds + END_SLACK_SECONDS:
        raise AudioError(f"{name}: end must be in ({start}, {seconds:.3f}] seconds, got {end}")
    first = round(start * file.samplerate)
    last = frames if end is None else min(frames, round(end * file.samplerate))
    if last - first < min_seconds * file.samplerate:
        length = (last - first) / file.samplerate
        raise AudioError(f"{name}: too short: at least {min_seconds} seconds are needed, got {length:.3f}")
    return first, last - first


def _check_values(waveform: Tensor, name: str) -> None:
    if not waveform.isfinite().all():
        raise AudioError(f"{name}: samples must be finite, got NaN or infinity")
    check_audible(waveform, name)
    peak = waveform.abs().max().item()
    if peak > MAX_PEAK:
        raise AudioError(
            f"{name}: samples must be in [-1, 1] (up to {MAX_PEAK:g} is clamped), got a peak of {peak:g}; "
            "16-bit numbers stored as floats must be divided by 32768"
        )


def _check_rate(rate: int, name: str) -> None:
    common = gcd(rate, SAMPLE_RATE)
    if not LEAST_RATE <= rate <= MOST_RATE or (rate // common) * (SAMPLE_RATE // common) > MAX_KERNEL:
        raise AudioError(
            f"{name}: the sampling rate must be in [{LEAST_RATE}, {MOST_RATE}] Hz and a common one (8000, 11025, "
            f"44100, ...), got {rate}; if that is its true rate, resample it first: ffmpeg -i X -ar {SAMPLE_RATE} Y.wav"
        )


def _unreadable(path: str | Path, error: Exception) -> AudioError:
    if Path(path).stat().st_size == 0:
        return AudioError(f"{shown(path)}: empty: the file has 0 bytes")
    return AudioError(f"{shown(path)}: not readable as audio, or corrupt ({shown(str(error) or type(error).__name__)})")
