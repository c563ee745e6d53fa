"""Batched, differentiable front-ends from waveforms to frames of features.

Each is split at its magnitude spectrogram, so that noise can enter there or at the features (O'Reilly, "Towards
Certified Adversarial Robustness for Audio Classification"); what a network needs to hear (window, scale, floor) is an
argument of its front-end, and so a field of the checkpoint.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
import torchaudio.compliance.kaldi as kaldi
from speechbrain.lobes.features import Fbank
from torch import Tensor, nn

SAMPLE_RATE = 16_000
WINDOWS = ("hamming", "povey", "hanning", "rectangular", "blackman")
BLOCK_FRAMES = 600  # 1.2 MB of a spectrum of 512 points: about a core's second cache


class Frontend(nn.Module, ABC):
    """Waveform (batch, time) -> features (batch, frames, num_features), by way of a magnitude spectrogram.

    Attributes:
        num_bins: Frequency bins of the magnitude spectrogram.
        num_features: Size of a frame of features.
        description: What it computes, in a few words.
    """

    num_bins: int
    num_features: int
    description: str

    def forward(self, waveform: Tensor) -> Tensor:
        """Maps (batch, time) to (batch, frames, num_features)."""
        return self.features(self.magnitude(waveform))

    def magnitude(self, waveform: Tensor) -> Tensor:
        """Maps (batch, time) to magnitudes (batch, frames, num_bins); in float32, since bf16 has no FFT."""
        with torch.autocast(waveform.device.type, enabled=False):
            return self._magnitude(waveform.float())

    def features(self, magnitude: Tensor) -> Tensor:
        """Maps magnitudes (batch, frames, num_bins) to features (batch, frames, num_features); in float32."""
        with torch.autocast(magnitude.device.type, enabled=False):
            return self._features(magnitude.float())

    @abstractmethod
    def _magnitude(self, waveform: Tensor) -> Tensor: ...

    @abstractmethod
    def _features(self, magnitude: Tensor) -> Tensor: ...


class LogMel(Frontend):
    """Log-mel energies in dB, with the mean over time subtracted from every utterance, as in speechbrain's ECAPA-TDNN.

    Args:
        num_mels: Mel bands between 0 and 8 kHz.
        fft_size: FFT points; at least the window's samples.
        window_ms: Length of the Hamming window, milliseconds.
        hop_ms: Step between frames, milliseconds.
    """

    def __init__(self, num_mels: int = 80, fft_size: int = 400, window_ms: float = 25, hop_ms: float = 10):
        super().__init__()
        self.num_bins, self.num_features = fft_size // 2 + 1, num_mels
        self.description = f"{num_mels} log-mel (dB), hamming {window_ms:g}/{hop_ms:g} ms, mean subtracted"
        self.fbank = Fbank(n_mels=num_mels, n_fft=fft_size, win_length=window_ms, hop_length=hop_ms)

    def _magnitude(self, waveform: Tensor) -> Tensor:
        return torch.linalg.vector_norm(self.fbank.compute_STFT(waveform), dim=-1)

    def _features(self, magnitude: Tensor) -> Tensor:
        features = self.fbank.compute_fbanks(magnitude.square())
        return features - features.mean(dim=1, keepdim=True)


class KaldiFbank(Frontend):
    """Kaldi's log-mel filterbank without dither, equal to `torchaudio.compliance.kaldi.fbank` row by row.

    Args:
        num_mels: Mel bands between `low_hz` and 8 kHz; at least 4.
        window: Window function. Published wespeaker models use hamming, its CAM++ and ERes2Net of 3D-Speaker povey.
        scale: Factor of the waveform: 32768 for networks trained on int16 amplitudes, 1 for those trained on [-1, 1].
            It matters because Kaldi's energy floor does not scale along.
        window_ms: Window length, milliseconds; the FFT has the next power of two.
        hop_ms: Step between frames, milliseconds; at most the window.
        preemphasis: Coefficient of the pre-emphasis filter; 0 is none.
        snip_edges: Only whole frames; otherwise the signal is mirrored at its ends, and there are time / hop frames.
        low_hz: Lowest frequency of the filters.
        energy_floor: Least energy of a frame's mel band before the logarithm.
        mean_norm: Subtract the mean over time from every utterance (CMN).

    Raises:
        ValueError: If an argument is out of its range, or a waveform is shorter than one window.
    """

    mel_banks: Tensor
    window: Tensor

    def __init__(
        self,
        num_mels: int = 80,
        window: Literal["hamming", "povey", "hanning", "rectangular", "blackman"] = "hamming",
        scale: float = 32768.0,
        window_ms: float = 25.0,
        hop_ms: float = 10.0,
        preemphasis: float = 0.97,
        snip_edges: bool = True,
        low_hz: float = 20.0,
        energy_floor: float = torch.finfo(torch.float32).eps,
        mean_norm: bool = True,
    ):
        super().__init__()
        nyquist = SAMPLE_RATE // 2
        _require(num_mels >= 4, "num_mels", "at least 4", num_mels)
        _require(window in WINDOWS, "window", f"one of {', '.join(WINDOWS)}", window)
        _require(scale > 0, "scale", "positive", scale)
        _require(
            window_ms * SAMPLE_RATE >= 2000, "window_ms", f"at least {2000 / SAMPLE_RATE} (two samples)", window_ms
        )
        _require(1000 <= hop_ms * SAMPLE_RATE and hop_ms <= window_ms, "hop_ms", f"in [0.0625, {window_ms}]", hop_ms)
        _require(0 <= preemphasis <= 1, "preemphasis", "in [0, 1]", preemphasis)
        _require(0 <= low_hz < nyquist, "low_hz", f"in [0, {nyquist})", low_hz)
        _require(energy_floor > 0, "energy_floor", "positive", energy_floor)
        self.window_size, self.hop = int(SAMPLE_RATE * window_ms / 1000), int(SAMPLE_RATE * hop_ms / 1000)
        self.fft_size = 2 ** math.ceil(math.log2(self.window_size))
        self.num_bins, self.num_features = self.fft_size // 2 + 1, num_mels
        self.scale, self.preemphasis, self.snip_edges = scale, preemphasis, snip_edges
        self.energy_floor, self.mean_norm = energy_floor, mean_norm
        kind = f"{num_mels} Kaldi log-mel, {window} {window_ms:g}/{hop_ms:g} ms, amplitude x {scale:g}"
        self.description = kind + (", mean subtracted" if mean_norm else "")
        function = kaldi._feature_window_function(window, self.window_size, 0.42, torch.device("cpu"), torch.float32)
        banks, _ = kaldi.get_mel_banks(num_mels, self.fft_size, SAMPLE_RATE, low_hz, 0.0, 0.0, 0.0, 1.0)
        self.register_buffer("window", function, persistent=False)
        self.register_buffer("mel_banks", F.pad(banks, (0, 1)).T.contiguous(), persistent=False)

    def forward(self, waveform: Tensor) -> Tensor:
        """Maps (batch, time) to (batch, frames, num_mels), as `features(magnitude(waveform))` but faster."""
        with torch.autocast(waveform.device.type, enabled=False):
            blocks = self._blocks(waveform.float())
            spectra = (self._spectrum(self.scale * block) for block in blocks)  # no root that would be squared again
            return torch.cat([self._log_mel(spectrum.real.square() + spectrum.imag.square()) for spectrum in spectra])

    def _blocks(self, waveform: Tensor) -> Sequence[Tensor]:
        """On the CPU, as many rows as a cache holds: memory of larger steps is fetched from the system every time."""
        if waveform.device.type != "cpu" or torch.compiler.is_compiling():
            return [waveform]
        return waveform.split(max(1, BLOCK_FRAMES * self.hop // waveform.shape[-1]))

    def _magnitude(self, waveform: Tensor) -> Tensor:
        return self._spectrum(waveform).abs()

    def _features(self, magnitude: Tensor) -> Tensor:
        return self._log_mel((self.scale * magnitude).square())

    def _spectrum(self, waveform: Tensor) -> Tensor:
        """Maps (batch, time) to complex spectra (batch, frames, num_bins).

        Steps and their order are torchaudio's, though fewer would do (pre-emphasis of the waveform, say): rounded in
        another way, the energy of a quiet band next to loud ones comes out by up to 1e-3 different.
        """
        if waveform.shape[-1] < self.window_size:
            raise ValueError(f"waveform must have at least {self.window_size} samples, got {waveform.shape[-1]}")
        if not self.snip_edges:
            waveform = self._mirrored(waveform)
        frames = waveform.unfold(-1, self.window_size, self.hop)
        frames = frames - frames.mean(dim=-1, keepdim=True)
        previous = torch.cat([frames[..., :1], frames[..., :-1]], dim=-1)
        frames = (frames - self.preemphasis * previous) * self.window
        return torch.fft.rfft(frames, n=self.fft_size)

    def _mirrored(self, waveform: Tensor) -> Tensor:
        """Mirrors both ends, the outermost samples repeated, so that there are round(time / hop) frames."""
        time = waveform.shape[-1]
        left = self.window_size // 2 - self.hop // 2
        num_frames = (time + self.hop // 2) // self.hop
        right = (num_frames - 1) * self.hop + self.window_size - left - time
        flipped = waveform.flip(-1)
        return torch.cat([flipped[:, time - left :], waveform, flipped[:, : max(right, 0)]], dim=-1)

    def _log_mel(self, power: Tensor) -> Tensor:
        """Maps power spectra (batch, frames, num_bins) of the scaled waveform to features (batch, frames, num_mels)."""
        features = (power @ self.mel_banks).clamp(min=self.energy_floor).log()
        return features - features.mean(dim=1, keepdim=True) if self.mean_norm else features


def _require(holds: bool, name: str, allowed: str, given: object) -> None:
    if not holds:
        raise ValueError(f"{name} must be {allowed}, got {given!r}")
