"""Noisy copies of one waveform whose noise depends on (seed, utterance, sample index) alone.

This is the Monte Carlo step of Cohen et al. 2019 (Section 3.2) made independent of batch size, order and workers.
"""

import hashlib

import torch

CHUNK = 16
"""Samples drawn from one generator: the unit that makes any range of samples reproducible by itself."""

ESTIMATE_START = 2**30
"""Index of the first estimation sample; selection samples lie below it, so the two never share noise."""


class NoisySampler:
    """Draws ``waveform + sigma * noise`` for any range of sample indices, into one reused buffer.

    Samples 16 c to 16 c + 15 come from a generator seeded for the chunk c, on the waveform's device. The streams of
    CPU and CUDA differ, and so do results between the two; each is reproducible on its own kind of device.

    Args:
        waveform: (time,), on the device where the noise is to be drawn.
        sigma: standard deviation of the noise.
        seed: seed of the whole run.
        utterance: id of the utterance.
    """

    def __init__(self, waveform: torch.Tensor, sigma: float, seed: int, utterance: str) -> None:
        self._waveform = waveform
        self._sigma = sigma
        self._key = int.from_bytes(hashlib.sha256(f"{seed}:{utterance}".encode()).digest()[:8], "big")
        self._generator = torch.Generator(device=waveform.device)
        self._buffer = waveform.new_empty(0, waveform.numel())
        self._chunk = waveform.new_empty(CHUNK, waveform.numel())
        self._chunk_index = -1

    def batch(self, start: int, stop: int) -> torch.Tensor:
        """Samples start to stop - 1, shape (stop - start, time); valid until the next call."""
        if len(self._buffer) < stop - start:
            self._buffer = self._buffer.new_empty(stop - start, self._waveform.numel())
        rows = self._buffer[: stop - start]
        for chunk in range(start // CHUNK, (stop - 1) // CHUNK + 1):
            first = chunk * CHUNK
            low, high = max(first, start), min(first + CHUNK, stop)
            target = rows[low - start : high - start]
            if high - low == CHUNK:
                self._draw(target, chunk)
            else:
                target.copy_(self._cached(chunk)[low - first : high - first])
        return rows.add_(self._waveform)

    def _cached(self, chunk: int) -> torch.Tensor:
        if chunk != self._chunk_index:
            self._draw(self._chunk, chunk)
            self._chunk_index = chunk
        return self._chunk

    def _draw(self, rows: torch.Tensor, chunk: int) -> None:
        self._generator.manual_seed(chunk_seed(self._key, chunk))
        rows.normal_(0.0, self._sigma, generator=self._generator)


def chunk_seed(key: int, chunk: int) -> int:
    """Seed of a chunk, distinct modulo 2^32 for all chunks of an utterance.

    The CPU generator of torch (mt19937) reads the low 32 bits of a seed only. Here they are a bijective mix (the
    finalizer of MurmurHash3) of key + chunk, so that neighbouring chunks do not get neighbouring seeds; the upper
    bits, which CUDA generators read too, are those of the key.
    """
    low = (key + chunk) & 0xFFFFFFFF
    low = ((low ^ (low >> 16)) * 0x85EBCA6B) & 0xFFFFFFFF
    low = ((low ^ (low >> 13)) * 0xC2B2AE35) & 0xFFFFFFFF
    return ((key >> 33) << 32) | (low ^ (low >> 16))
