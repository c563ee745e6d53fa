"""Finds the batch size at which an encoder is fastest, by timing powers of two until they stop paying.

Forward passes are nearly all of the cost of randomized smoothing (Cohen et al. 2019), so it pays to spend a few here.
"""

import time
from collections.abc import Callable

import torch

MAX_BATCH_SIZE = 1024
MIN_GAIN = 1.03
"""A batch of twice the size must be this much faster per row, else the smaller one is kept."""


def fastest_batch_size(
    encoder: Callable[[torch.Tensor], torch.Tensor], waveform: torch.Tensor, limit: int = MAX_BATCH_SIZE
) -> int:
    """The fastest power of two of rows like `waveform`, at most `limit` or what fits into memory.

    Args:
        encoder: callable from (batch, time) to embeddings.
        waveform: (time,), on the encoder's device.
        limit: largest batch that is of use.
    """
    best, best_rate, size, misses = 1, 0.0, 1, 0
    while size <= min(limit, MAX_BATCH_SIZE) and misses < 2:
        try:
            rate = size / _seconds_per_call(encoder, waveform.repeat(size, 1))
        except torch.OutOfMemoryError:
            break
        if rate > MIN_GAIN * best_rate:
            best, best_rate, misses = size, rate, 0
        else:
            misses += 1
        size *= 2
    return best


def _seconds_per_call(encoder: Callable[[torch.Tensor], torch.Tensor], batch: torch.Tensor) -> float:
    """Best of two calls after one to warm up."""
    times = []
    for _ in range(3):
        start = time.perf_counter()
        encoder(batch)
        if batch.is_cuda:
            torch.cuda.synchronize(batch.device)
        times.append(time.perf_counter() - start)
    return min(times[1:])
