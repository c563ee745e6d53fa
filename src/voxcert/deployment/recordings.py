"""What is heard of recordings: for an answer, and to enrol a speaker, as a certification run hears its own."""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from voxcert.data.audio import SAMPLE_RATE, check_audible, crop, load, num_channels
from voxcert.encoders.base import prototypes_of
from voxcert.smoothing.validation import check_waveform


def read(path: str | Path, channel: int | None, min_seconds: float = 0.1) -> Tensor:
    """Reads a recording as a waveform (time,).

    Args:
        path: Audio file.
        channel: Which one is read of a file that has several; their average when None.
        min_seconds: Length of a recording, at least.

    Raises:
        AudioError: As `load`.
    """
    return load(path, min_seconds=min_seconds, channel=channel if num_channels(path) > 1 else None)


def middle(waveform: Tensor, seconds: float | None) -> Tensor:
    """What of a recording is heard for an answer: its middle, or its repetition; all of it when `seconds` is None.

    Raises:
        ValueError: If it is no finite waveform (time,).
        AudioError: If nothing is to be heard there.
    """
    return _crop("waveform", waveform, seconds)


def pieces(waveform: Tensor, seconds: float | None) -> list[Tensor]:
    """What of a recording enrols its speaker: all of it in pieces, without a shorter rest, or `middle` if it has one.

    Raises:
        ValueError, AudioError: As `middle`.
    """
    check_waveform(waveform)
    length = len(waveform) if seconds is None else round(seconds * SAMPLE_RATE)
    count = len(waveform) // length
    if count < 2:
        return [middle(waveform, seconds)]
    return [
        _crop(f"waveform ({index * seconds:g} s to {(index + 1) * seconds:g} s)", piece, seconds)
        for index, piece in enumerate(waveform[: count * length].split(length))
    ]


def enrolled(
    encoder: Callable[[Tensor], Tensor],
    enrollment: dict[str, Sequence[Tensor]],
    crop_seconds: float | None,
    sigma: float,
    enroll_noise: int,
    device: torch.device | str = "cpu",
) -> tuple[Tensor, list[str]]:
    """Prototypes (speakers, dim) of speakers, and their names.

    Args:
        encoder: Waveform (batch, time) -> unit embedding (batch, dim).
        enrollment: Name -> recordings (time,).
        crop_seconds: Length of what is heard at once; None takes recordings whole.
        sigma: Standard deviation of the noise.
        enroll_noise: Noise draws at sigma for every piece; 0 enrols on clean speech.
        device: Where the encoder is.

    Raises:
        ValueError: If there is nobody, or somebody without a recording; as `pieces`.
    """
    empty = sorted(name for name, waveforms in enrollment.items() if not len(waveforms))
    if empty or not enrollment:
        raise ValueError(
            f"enrollment must have a waveform or more for every speaker, got none for {empty or 'anybody'}"
        )
    batches = [
        {"waveform": piece[None], "speaker": [name]}
        for name, waveforms in enrollment.items()
        for waveform in waveforms
        for piece in pieces(waveform, crop_seconds)
    ]
    return prototypes_of(encoder, batches, sigma=sigma, num_noise=enroll_noise, device=device)


def _crop(name: str, waveform: Tensor, seconds: float | None) -> Tensor:
    check_waveform(waveform)
    heard = waveform if seconds is None else crop(waveform, round(seconds * SAMPLE_RATE))
    check_audible(heard, name if len(heard) >= len(waveform) else f"what is heard of {name}")
    return heard
