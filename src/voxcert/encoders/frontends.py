"""Batched, differentiable front-ends from waveforms to frames of features.

`LogMel` is speechbrain's filterbank with mean normalisation over the utterance, as its ECAPA-TDNN recipe uses it.
"""

import torch
from speechbrain.lobes.features import Fbank
from torch import Tensor, nn


class LogMel(nn.Module):
    """Log-mel energies in dB, with the mean over time subtracted from every utterance.

    Args:
        num_mels: Mel bands between 0 and 8 kHz.
        fft_size: FFT points; at least the window's samples.
        window_ms: Length of the Hamming window, milliseconds.
        hop_ms: Step between frames, milliseconds.
    """

    def __init__(self, num_mels: int = 80, fft_size: int = 400, window_ms: float = 25, hop_ms: float = 10):
        super().__init__()
        self.fbank = Fbank(n_mels=num_mels, n_fft=fft_size, win_length=window_ms, hop_length=hop_ms)

    def forward(self, waveform: Tensor) -> Tensor:
        """Maps (batch, time) to (batch, frames, num_mels); always in float32, since bf16 has no FFT."""
        with torch.autocast(waveform.device.type, enabled=False):
            features = self.fbank(waveform.float())
            return features - features.mean(dim=1, keepdim=True)
