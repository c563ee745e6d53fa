"""The global masking threshold of speech: how loud a sound can be, at each time and frequency, and stay unheard.

The first psychoacoustic model of MPEG-1 audio as in Lin and Abdulla 2015, with the simplification of Qin et al. 2019
that every masker is a tone.
"""

import math

import torch
from torch import Tensor, nn

SAMPLE_RATE = 16_000
PEAK_DB = 96.0
"""Sound pressure level, dB, at which the loudest bin of an utterance is taken to be played."""
FLOOR_DB = -200.0
"""Level of digital silence before that normalisation, so that it has a logarithm."""
NEIGHBOURHOOD_BARK = 0.5
"""Of two maskers that are nearer than this, the weaker one does not count."""


class MaskingThreshold(nn.Module):
    """Waveform (batch, time) -> masking threshold (batch, frames, bins) in dB, on the scale of `level`.

    Frames start at the first sample and lie within the waveform; bins are those of the FFT, 0 to 8 kHz. A bin below 20
    Hz, where the threshold of hearing is not defined, has what the maskers alone give: -inf if there is none.

    Args:
        window_samples: Length of the Hann window and of the FFT.
        hop_samples: Step between frames.
    """

    def __init__(self, window_samples: int = 512, hop_samples: int = 160):
        super().__init__()
        if not 1 <= hop_samples <= window_samples:
            raise ValueError(f"hop_samples must lie in [1, window_samples={window_samples}], got {hop_samples}")
        self.hop_samples = hop_samples
        hertz = torch.linspace(0, SAMPLE_RATE / 2, window_samples // 2 + 1, dtype=torch.float64)
        self.register_buffer("window", torch.hann_window(window_samples))
        self.register_buffer("bark", bark(hertz).float())
        self.register_buffer("quiet", threshold_in_quiet(hertz).float())

    def forward(self, waveform: Tensor) -> Tensor:
        """Threshold of each waveform by itself, (batch, frames, bins) in dB."""
        level, _ = self.level(waveform)
        return self.combine(level, self.maskers(level))

    def power(self, waveform: Tensor) -> Tensor:
        """Power spectral density (batch, frames, bins) of waveforms (batch, time), before normalisation."""
        if waveform.shape[-1] < len(self.window):
            raise ValueError(f"waveform must have at least {len(self.window)} samples, got {waveform.shape[-1]}")
        spectrum = torch.stft(
            waveform, len(self.window), self.hop_samples, window=self.window, center=False, return_complex=True
        )
        gain = math.sqrt(8 / 3) / len(self.window)  # a Hann window keeps 3/8 of the power
        return torch.view_as_real(gain * spectrum).square().sum(dim=-1).transpose(1, 2)

    def level(self, waveform: Tensor) -> tuple[Tensor, Tensor]:
        """Level (batch, frames, bins) in dB, at most `PEAK_DB`; and the peak (batch,) in dB that became that."""
        decibel = 10 * self.power(waveform).log10().clamp(min=FLOOR_DB / 10)
        peak = decibel.amax(dim=(1, 2))
        return PEAK_DB - peak[:, None, None] + decibel, peak

    def maskers(self, level: Tensor) -> Tensor:
        """Which bins mask: audible local maxima, the stronger of each two within half a Bark; bool like `level`."""
        peaks = torch.zeros_like(level, dtype=torch.bool)
        peaks[..., 1:-1] = (level[..., 1:-1] > level[..., :-2]) & (level[..., 1:-1] > level[..., 2:])
        strength = _with_neighbours(level)
        return self._thin(peaks & (strength > self.quiet), strength)

    def combine(self, level: Tensor, maskers: Tensor) -> Tensor:
        """Sums what each masker hides and the threshold in quiet: (batch, frames, bins) in dB."""
        batch, frames, bins = maskers.shape
        example, frame, center = maskers.nonzero(as_tuple=True)
        strength = _with_neighbours(level)[maskers][:, None]
        distance = self.bark - self.bark[center, None]
        slope = torch.where(distance > 0, -27 + 0.37 * (strength - 40).clamp(min=0), 27)
        hidden = strength - 6.025 - 0.275 * self.bark[center, None] + slope * distance
        power = _power(self.quiet).expand(batch * frames, bins).index_add(0, example * frames + frame, _power(hidden))
        return 10 * power.log10().unflatten(0, (batch, frames))

    def _thin(self, candidates: Tensor, strength: Tensor) -> Tensor:
        """Goes up in frequency, all frames together, and compares each candidate with the last one that was taken."""
        left = torch.zeros_like(candidates)
        last = torch.zeros_like(candidates[..., :1], dtype=torch.long)
        last_bark = last_strength = torch.full_like(strength[..., :1], -torch.inf)
        for index in range(candidates.shape[-1]):
            near = self.bark[index] - last_bark < NEIGHBOURHOOD_BARK
            own_strength = strength[..., index, None]
            taken = candidates[..., index, None] & (~near | (own_strength > last_strength))
            left.scatter_(-1, last, left.gather(-1, last) & ~(taken & near))
            left[..., index, None] = taken
            last = torch.where(taken, index, last)
            last_bark = torch.where(taken, self.bark[index], last_bark)
            last_strength = torch.where(taken, own_strength, last_strength)
        return left


def bark(hertz: Tensor) -> Tensor:
    """Critical-band rate in Bark of frequencies in Hz (Zwicker and Terhardt 1980)."""
    return 13 * torch.atan(0.00076 * hertz) + 3.5 * torch.atan((hertz / 7500) ** 2)


def threshold_in_quiet(hertz: Tensor) -> Tensor:
    """Absolute threshold of hearing in dB (Terhardt 1979), 12 dB lower: MPEG-1 keeps on the safe side.

    Below 20 Hz it is not defined, and -inf here.
    """
    kilohertz = hertz / 1000
    threshold = 3.64 * kilohertz**-0.8 - 6.5 * torch.exp(-0.6 * (kilohertz - 3.3) ** 2) + 0.001 * kilohertz**4 - 12
    return torch.where(hertz >= 20, threshold, -torch.inf)


def _with_neighbours(level: Tensor) -> Tensor:
    """Level of the power in each bin and its two neighbours together, dB."""
    power = nn.functional.pad(_power(level), (1, 1))
    return 10 * (power[..., :-2] + power[..., 1:-1] + power[..., 2:]).log10()


def _power(decibel: Tensor) -> Tensor:
    return 10 ** (decibel / 10)
