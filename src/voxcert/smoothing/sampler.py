"""Noisy copies of one waveform whose noise depends on (seed, utterance, sample index) alone, and whose sums are exact.

The Monte Carlo step of Cohen et al. 2019 (Section 3.2), made independent of batch size, order and workers, and sound
in floating point: waveform and noise are multiples of 2^-20, so adding them loses nothing. (Rounded sums tell the
waveform apart: Voracek and Hein 2023, "Sound randomized smoothing in floating-point arithmetic".)
"""

import hashlib
import math

import numpy as np
import torch

from voxcert.smoothing.devices import device_name

CHUNK = 16
"""Samples drawn from one generator: the unit that makes any range of samples reproducible by itself."""

ESTIMATE_START = 2**30
"""Index of the first estimation sample; selection samples lie below it, so the two never share noise."""

GRID = 2.0**-20
"""Step of the grid. 16-bit audio is on it, and multiples below `LARGEST` are float32 numbers."""

LARGEST = 16.0
"""2^24 steps: up to here float32 holds every multiple of the grid's step."""

NOISE_REACH = 10.0
"""Standard deviations that leave room for the noise; it goes beyond with probability 1e-23."""

LARGEST_SIGMA = (LARGEST - 1.0) / NOISE_REACH
"""Of noise that is added to waveforms in [-1, 1]."""

RESOLUTION = 2.0**-49
"""How far a float64 normal is from the ideal one that it stands for, in standard deviations, at most."""


class NoisySampler:
    """Draws ``waveform + sigma * noise`` for any range of sample indices, into one reused buffer.

    Samples 16 c to 16 c + 15 come from a generator seeded for the chunk c, on the waveform's device. The CPU draws them
    as any other CPU does; CUDA draws other ones, and only GPUs of one model (`device_name`) with one version of torch
    draw the same.

    Args:
        waveform: (time,) float32, on the device where the noise is to be drawn; rounded to the grid.
        sigma: standard deviation of the noise.
        seed: seed of the whole run.
        utterance: id of the utterance.
        grid: step of the grid; None adds noise as it is, and float32 rounds the sums.

    Attributes:
        waveform: (time,) what noise is added to, on the grid.

    Raises:
        ValueError: if sums would leave the range in which they are exact.
    """

    def __init__(
        self, waveform: torch.Tensor, sigma: float, seed: int, utterance: str, grid: float | None = GRID
    ) -> None:
        self.waveform, self._sigma, self._grid = waveform, sigma, grid
        if grid is not None:
            peak = float(waveform.abs().max())
            if not peak + NOISE_REACH * sigma <= LARGEST:
                raise ValueError(
                    f"sigma and waveform must be such that {NOISE_REACH:g} sigma and the peak make at most {LARGEST:g} "
                    f"(sums with noise are then exact), got sigma {sigma} and a peak of {peak:.4g}"
                )
            self.waveform = round_to_grid(waveform, grid)
        self._digest = hashlib.sha256(f"{seed}:{utterance}".encode()).digest()
        self._entropy = int.from_bytes(self._digest, "big")
        self._buffer = waveform.new_empty(0, waveform.numel())
        self._chunk = waveform.new_empty(CHUNK, waveform.numel())
        self._chunk_index = -1
        self._row = np.empty(waveform.numel())

    @property
    def identity(self) -> str:
        """A digest of all that decides the samples but for torch: two samplers that share it draw the same ones."""
        device, shape = device_name(self.waveform.device), tuple(self.waveform.shape)
        about = f"{self._sigma!r}:{self._grid!r}:{device}:{shape}:".encode()
        return hashlib.sha256(self._digest + about + self.waveform.cpu().numpy().tobytes()).hexdigest()

    def batch(self, start: int, stop: int) -> torch.Tensor:
        """Samples start to stop - 1, shape (stop - start, time); valid until the next call."""
        if len(self._buffer) < stop - start:
            self._buffer = self._buffer.new_empty(stop - start, self.waveform.numel())
        rows = self._buffer[: stop - start]
        for chunk in range(start // CHUNK, (stop - 1) // CHUNK + 1):
            first = chunk * CHUNK
            low, high = max(first, start), min(first + CHUNK, stop)
            target = rows[low - start : high - start]
            if high - low == CHUNK:
                self._draw(target, chunk)
            else:
                target.copy_(self._cached(chunk)[low - first : high - first])
        return rows.add_(self.waveform)

    def _cached(self, chunk: int) -> torch.Tensor:
        if chunk != self._chunk_index:
            self._draw(self._chunk, chunk)
            self._chunk_index = chunk
        return self._chunk

    def _draw(self, rows: torch.Tensor, chunk: int) -> None:
        """Fills rows with noise that was drawn in float64 and then rounded to the grid."""
        seed = np.random.SeedSequence(self._entropy, spawn_key=(chunk,))
        if rows.device.type == "cpu":
            self._draw_numpy(rows.numpy(), np.random.Generator(np.random.SFC64(seed)))
        else:
            generator = torch.Generator(rows.device).manual_seed(int(seed.generate_state(1, np.uint64)[0]) >> 1)
            noise = torch.empty(rows.shape, dtype=torch.float64, device=rows.device).normal_(generator=generator)
            noise.mul_(self._sigma)
            rows.copy_(noise if self._grid is None else round_to_grid(noise, self._grid))

    def _draw_numpy(self, rows: np.ndarray, generator: np.random.Generator) -> None:
        """NumPy's float64 normals take a third of the time of torch's; one row at a time stays in the cache."""
        step = self._grid or 1.0
        for row in rows:
            generator.standard_normal(out=self._row)
            self._row *= self._sigma / step
            if self._grid is not None:
                np.rint(self._row, out=self._row)
            np.multiply(self._row, step, out=row, casting="same_kind")


def draw_error(num_values: int, sigma: float, grid: float | None) -> float:
    """Total variation between numbers as they are drawn and independent Gaussians rounded to the grid, at most.

    A number that is off by `RESOLUTION` falls on the wrong side of the border between two multiples of the grid's step
    with a probability that is small beside theirs: these are off by shares whose root mean square is at most
    ``2 RESOLUTION (sigma / grid + 1)``. Its square bounds the Kullback-Leibler divergence, which adds up over
    independent numbers, and Pinsker's inequality turns the sum into total variation.

    Args:
        num_values: how many numbers, of all samples together.
        sigma: standard deviation of the noise.
        grid: step of the grid; without one nothing is promised in floating point, and nothing is charged.
    """
    if grid is None:
        return 0.0
    return 2.0 * RESOLUTION * (sigma / grid + 1.0) * math.sqrt(num_values / 2.0)


def grid_of(noise_at: str) -> float | None:
    """Step of the grid where noise enters: recordings are on one, and what a front-end computes of them is not."""
    return GRID if noise_at == "waveform" else None


def round_to_grid(waveform: torch.Tensor, grid: float = GRID) -> torch.Tensor:
    """The nearest multiples of the grid's step; exact for a power of two."""
    return (waveform / grid).round_().mul_(grid)
