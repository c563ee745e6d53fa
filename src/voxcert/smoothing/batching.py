"""Finds the batch size at which an encoder is fastest, by timing powers of two until they stop paying.

Forward passes are nearly all of the cost of randomized smoothing (Cohen et al. 2019), so a few spent here pay.
"""

import time
from collections.abc import Callable

import torch

MAX_BATCH_SIZE = {"cuda": 1024, "cpu": 128}
"""A CPU gains nothing beyond, and its memory ends without an exception."""

NEARLY = 0.95
"""Among sizes within this share of the best rate the largest is taken: it has the least overhead elsewhere."""


def fastest_batch_size(
    encoder: Callable[[torch.Tensor], torch.Tensor], waveform: torch.Tensor, limit: int = 1024
) -> int:
    """The fastest power of two of rows like `waveform`, at most `limit` or what fits into memory.

    Args:
        encoder: callable from (batch, time) to embeddings.
        waveform: (time,), on the encoder's device.
        limit: largest batch that is of use, at least 1.
    """
    rates: dict[int, float] = {}  # rows per second
    size, limit = 1, min(limit, MAX_BATCH_SIZE.get(waveform.device.type, 128))
    while size <= limit:
        try:
            rates[size] = size / _seconds_per_call(encoder, waveform.repeat(size, 1))
        except torch.OutOfMemoryError:
            break
        if rates[size] < NEARLY * max(rates.values()) and size >= 16:
            break
        size *= 2
    best = max(rates.values(), default=0.0)
    return max((size for size, rate in rates.items() if rate >= NEARLY * best), default=1)


def _seconds_per_call(encoder: Callable[[torch.Tensor], torch.Tensor], batch: torch.Tensor) -> float:
    """The best of three calls after one to warm up."""
    times = []
    for _ in range(4):
        start = time.perf_counter()
        encoder(batch)
        if batch.is_cuda:
            torch.cuda.synchronize(batch.device)
        times.append(time.perf_counter() - start)
    return min(times[1:])
