"""The GE2E encoder of Resemblyzer: an LSTM on partial utterances of 1.6 s, whose embeddings are averaged.

Wan et al. 2018, "Generalized end-to-end loss for speaker verification" (arXiv 1710.10467); its `pretrained.pt` is read
by `load_file`.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchaudio.functional import melscale_fbanks

from voxcert.encoders.base import FeatureEncoder
from voxcert.encoders.frontends import SAMPLE_RATE, Frontend

WINDOW, HOP = 400, 160  # samples
PARTIAL_FRAMES = 160
PARTIAL_STEP = 77  # frames: 1.3 partial utterances a second
LEAST_COVERAGE = 0.75
"""Share of a last partial utterance that must be speech and not padding, unless it is the only one."""
LEAST_RMS = 10 ** (-30 / 20)
"""Quieter waveforms are made this loud: -30 dB below full scale."""


class GE2E(FeatureEncoder):
    """LSTM on mel energies (not logarithmic); the mean of the unit embeddings of partial utterances.

    The defaults are Resemblyzer's. A waveform is made louder if it is quiet, as there, since energies are heard as they
    are. Silence is not cut out, as Resemblyzer's `preprocess_wav` does: no gradient would reach the waveform through
    the voice activity detector, and the rows of a batch would come out at different lengths.

    Args:
        dim: Size of the embedding.
        hidden_size: Width of the LSTM.
        num_layers: Layers of the LSTM.
        num_mels: Mel bands between 0 and 8 kHz.

    Raises:
        ValueError: If a waveform is shorter than one frame (400 samples).
    """

    def __init__(self, dim: int = 256, hidden_size: int = 256, num_layers: int = 3, num_mels: int = 40):
        super().__init__()
        self.dim = dim
        self.frontend = PartialMel(num_mels)
        self.network = GE2ENetwork(dim, hidden_size, num_layers, num_mels)

    def embed_features(self, features: Tensor) -> Tensor:
        """Embeds mel energies (batch, frames, num_mels) of 160 frames or more as means of unit vectors (batch, dim)."""
        partials = features.unfold(1, PARTIAL_FRAMES, PARTIAL_STEP).transpose(2, 3)  # (batch, partials, 160, num_mels)
        embeddings = self.network(partials.flatten(0, 1)).unflatten(0, partials.shape[:2])
        return F.normalize(embeddings, dim=-1).mean(dim=1)


class GE2ENetwork(nn.Module):
    """The network alone, features (batch, frames, num_mels) to (batch, dim), none below 0; arguments as for `GE2E`."""

    def __init__(self, dim: int, hidden_size: int, num_layers: int, num_mels: int):
        super().__init__()
        self.lstm = nn.LSTM(num_mels, hidden_size, num_layers, batch_first=True)
        self.linear = nn.Linear(hidden_size, dim)

    def forward(self, features: Tensor) -> Tensor:
        """Embeds features (batch, frames, num_mels), in float32 under autocast too: rounding adds up over frames."""
        with torch.autocast(features.device.type, enabled=False):
            return F.relu(self.linear(self._last_hidden(features.float())))

    def _last_hidden(self, features: Tensor) -> Tensor:
        if features.is_cuda and torch.is_grad_enabled() and not self.training:
            with torch.backends.cudnn.flags(enabled=False):  # its LSTM has no gradients in evaluation mode
                return self.lstm(features)[0][:, -1]
        return self.lstm(features)[0][:, -1]


class PartialMel(Frontend):
    """Mel energies by librosa's rule, of as many frames as whole partial utterances have.

    Hann windows of 25 ms every 10 ms, centred on their frame; Slaney's mel scale and norm. Zeros fill a last partial
    utterance that three quarters or more of are there, and a shorter rest is left out. Magnitudes are those of the
    waveform after it was made louder, if it was below -30 dB of full scale.

    Args:
        num_mels: Mel bands between 0 and 8 kHz.

    Raises:
        ValueError: If a waveform is shorter than one frame (400 samples).
    """

    window: Tensor
    mel_banks: Tensor

    def __init__(self, num_mels: int = 40):
        super().__init__()
        self.num_bins, self.num_features = WINDOW // 2 + 1, num_mels
        self.description = f"{num_mels} mel energies (not log), hann 25/10 ms, quiet waveforms at -30 dB"
        banks = melscale_fbanks(self.num_bins, 0, SAMPLE_RATE / 2, num_mels, SAMPLE_RATE, "slaney", "slaney")
        self.register_buffer("window", torch.hann_window(WINDOW), persistent=False)
        self.register_buffer("mel_banks", banks, persistent=False)

    def _magnitude(self, waveform: Tensor) -> Tensor:
        time = waveform.shape[-1]
        if time < WINDOW:
            raise ValueError(f"waveform must have at least {WINDOW} samples, got {time}")
        rms = waveform.square().mean(dim=-1, keepdim=True).clamp(min=1e-20).sqrt()
        waveform = waveform * (LEAST_RMS / rms).clamp(min=1)
        num_frames = covered_frames(time)
        waveform = F.pad(waveform, (0, max(0, num_frames * HOP - time)))
        spectrum = torch.stft(
            waveform, WINDOW, HOP, window=self.window, center=True, pad_mode="constant", return_complex=True
        )
        return spectrum[..., :num_frames].abs().transpose(1, 2)

    def _features(self, magnitude: Tensor) -> Tensor:
        return magnitude.square() @ self.mel_banks


def covered_frames(num_samples: int) -> int:
    """Frames up to the end of the last partial utterance that is heard."""
    num_frames = -(-(num_samples + 1) // HOP)
    last = max(0, num_frames - PARTIAL_FRAMES + PARTIAL_STEP) // PARTIAL_STEP * PARTIAL_STEP
    if last and (num_samples - last * HOP) / (PARTIAL_FRAMES * HOP) < LEAST_COVERAGE:
        last -= PARTIAL_STEP
    return last + PARTIAL_FRAMES
