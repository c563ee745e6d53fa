"""What guides the diffusion: the noisy speech's spectrogram and an embedding of what is said, fused frame by frame.

Chen et al. (TDAP), section 2.3, name convolutional self-attention on the spectrogram, a linear head, and no more. Here
the first is one block of a Conformer (Gulati et al. 2020, of torchaudio), and the text, projected to the same width, is
added to every frame before the head.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchaudio.models import Conformer
from torchaudio.transforms import MelSpectrogram, Spectrogram

from voxcert.data.audio import SAMPLE_RATE
from voxcert.encoders.base import Configured
from voxcert.purifiers.base import TEXT_DIM

HOP = 256
"""Samples between frames."""

WINDOW = 1024
FLOOR = 1e-4  # of magnitudes, before the logarithm
ATTENTION_KERNEL = 31  # of the Conformer's convolution, as in its paper


class Conditioner(Configured, nn.Module):
    """Noisy waveform (batch, time) and text (batch, 768) -> condition (batch, dim, frames), a frame every 256 samples.

    Frame k is centred on sample 256 k, and there are ceil(time / 256) + 1 of them.

    Args:
        num_mels: Mel bands of the spectrogram; None is the plain one, of 513 bins.
        dim: Width of the condition.
        num_layers: Conformer blocks.
        num_heads: Attention heads.
        text_dropout: Share of training examples whose text is hidden.
    """

    def __init__(
        self,
        num_mels: int | None = 80,
        dim: int = 64,
        num_layers: int = 1,
        num_heads: int = 4,
        text_dropout: float = 0.1,
    ):
        super().__init__()
        if not 0 <= text_dropout <= 1:
            raise ValueError(f"text_dropout must be in [0, 1], got {text_dropout}")
        self.text_dropout = text_dropout
        frames = {"n_fft": WINDOW, "hop_length": HOP, "power": 1, "pad_mode": "constant"}
        self.spectrogram = MelSpectrogram(SAMPLE_RATE, n_mels=num_mels, **frames) if num_mels else Spectrogram(**frames)
        self.frames_in = nn.Linear(num_mels or WINDOW // 2 + 1, dim)
        self.attention = Conformer(dim, num_heads, 2 * dim, num_layers, ATTENTION_KERNEL, use_group_norm=True)
        self.text_in = nn.Linear(TEXT_DIM, dim)
        self.no_text = nn.Parameter(torch.zeros(TEXT_DIM))
        self.head = nn.Linear(dim, dim)

    def forward(self, noisy: Tensor, text: Tensor | None = None) -> Tensor:
        """Fuses speech and text.

        Args:
            noisy: Shape (batch, time), 16 kHz.
            text: Shape (batch, 768), rows of zeros where nothing is known; None is that for all rows. They are
                replaced by a learned vector.

        Returns:
            Shape (batch, dim, ceil(time / 256) + 1).
        """
        with torch.autocast(noisy.device.type, enabled=False):  # spectra have more range than short floats
            magnitude = self.spectrogram(F.pad(noisy.float(), (0, -noisy.shape[-1] % HOP)))
            level = (magnitude + FLOOR).log().mT  # (batch, frames, bins)
        frames = self.frames_in(level)
        lengths = torch.full((len(noisy),), frames.shape[1], device=noisy.device)
        frames, _ = self.attention(frames, lengths)
        return self.head(frames + self.text_in(self._known(text, len(noisy)))[:, None]).mT

    def _known(self, text: Tensor | None, batch: int) -> Tensor:
        """The text with the learned vector where there is none, shape (batch, 768)."""
        nothing = self.no_text.expand(batch, -1)
        if text is None:
            return nothing
        hidden = (text == 0).all(dim=1)
        if self.training:
            hidden = hidden | (torch.rand(batch, device=text.device) < self.text_dropout)
        return torch.where(hidden[:, None], nothing, text)
