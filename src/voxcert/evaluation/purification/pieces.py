"""Purifies a waveform of any length piece by piece; neighbouring pieces overlap and fade into each other."""

from collections.abc import Iterator

import torch
from torch import Tensor

from voxcert.data.audio import SAMPLE_RATE
from voxcert.purifiers.base import Purifier

OVERLAP_SECONDS = 0.25


def purify_long(purifier: Purifier, waveform: Tensor, text: Tensor | None, chunk_samples: int) -> Tensor:
    """Purifies a waveform of any length piece by piece.

    Args:
        purifier: Any.
        waveform: Shape (time,).
        text: Shape (1, 768), for all pieces, or None.
        chunk_samples: Longest piece. Pieces overlap by `OVERLAP_SECONDS` and fade linearly into each other.

    Returns:
        Shape (time,).
    """
    overlap = round(OVERLAP_SECONDS * SAMPLE_RATE)
    output, weight = torch.zeros_like(waveform), torch.zeros_like(waveform)
    for start, stop in _pieces(len(waveform), chunk_samples, overlap):
        ramp = torch.ones(stop - start, device=waveform.device)
        rise = torch.arange(1, overlap + 1, device=waveform.device) / (overlap + 1)
        if start > 0:
            ramp[:overlap] = rise
        if stop < len(waveform):
            ramp[-overlap:] = rise.flip(0)
        output[start:stop] += ramp * purifier(waveform[None, start:stop], text)[0]
        weight[start:stop] += ramp
    return output / weight


def _pieces(length: int, longest: int, overlap: int) -> Iterator[tuple[int, int]]:
    """Equal pieces, none longer than `longest`, neighbours sharing `overlap` samples."""
    count = max(1, -(-(length - overlap) // (longest - overlap)))
    step = -(-(length - overlap) // count)
    for number in range(count):
        start = number * step
        yield start, length if number == count - 1 else start + step + overlap
