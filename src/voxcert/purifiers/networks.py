"""Networks that predict the noise in diffused speech: DiffWave, and its residual blocks on spectrogram frames.

Kong et al. 2021 (DiffWave) with the sizes of Chen et al. (TDAP): 30 layers of 64 channels, three dilation cycles.
"""

import math
from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from voxcert.encoders.base import Configured
from voxcert.purifiers.conditioner import HOP, Conditioner

NUM_FREQUENCIES = 64  # of the step embedding


class NoisePredictor(Configured, nn.Module, ABC):
    """Diffused waveform (batch, time), step (batch,) and condition -> noise (batch, time), for any length.

    Attributes:
        conditioner: What makes the condition; None for an unconditional network.
    """

    conditioner: Conditioner | None

    def condition(self, noisy: Tensor, text: Tensor | None = None) -> Tensor | None:
        """What `forward` is told of the noisy waveforms (batch, time) and texts (batch, 768); once for all steps."""
        return None if self.conditioner is None else self.conditioner(noisy, text)

    @abstractmethod
    def forward(self, sample: Tensor, step: Tensor, condition: Tensor | None = None) -> Tensor:
        """Predicts noise.

        Args:
            sample: x_t, shape (batch, time).
            step: t, shape (batch,), counted from 0; fractions are allowed.
            condition: From `condition`.

        Returns:
            Shape (batch, time).
        """


class DiffWave(NoisePredictor):
    """DiffWave: dilated convolutions on the samples themselves.

    Args:
        conditioner: Of spectrogram and text; None for an unconditional network.
        channels: Residual channels.
        num_layers: Residual blocks.
        dilation_cycle: Dilations are 1, 2, 4, ... for so many blocks, and begin again.
        step_dim: Width of the step embedding.
    """

    def __init__(
        self,
        conditioner: Conditioner | None = None,
        channels: int = 64,
        num_layers: int = 30,
        dilation_cycle: int = 10,
        step_dim: int = 512,
    ):
        super().__init__()
        self.conditioner = conditioner
        width = None if conditioner is None else conditioner.head.out_features
        self.upsample = None if conditioner is None else Upsampler()
        self.sample_in = nn.Conv1d(1, channels, 1)
        self.body = ResidualStack(channels, num_layers, dilation_cycle, step_dim, width)
        self.mix = nn.Conv1d(channels, channels, 1)
        self.noise_out = nn.Conv1d(channels, 1, 1)
        nn.init.zeros_(self.noise_out.weight)

    def forward(self, sample: Tensor, step: Tensor, condition: Tensor | None = None) -> Tensor:
        """Predicts noise (batch, time)."""
        if condition is not None:
            condition = self.upsample(condition, sample.shape[-1])
        skip = self.body(self.sample_in(sample[:, None]).relu(), step, condition)
        return self.noise_out(self.mix(skip).relu())[:, 0]


class SpectralDiffWave(NoisePredictor):
    """DiffWave's blocks on the frames of a spectrogram, a hundred times cheaper than on samples.

    Beyond the paper, for processors without an accelerator and for certificates, which ask for a network thousands of
    times. The blocks see the log-magnitudes of x_t and give a complex mask for its short-time Fourier transform; the
    masked transform is the output.

    Args:
        conditioner: Of spectrogram and text; None for an unconditional network.
        channels: Residual channels.
        num_layers: Residual blocks.
        dilation_cycle: Dilations are 1, 2, 4, ... for so many blocks, and begin again.
        step_dim: Width of the step embedding.
        window: Samples of the Fourier transform.
        hop: Samples between frames.
    """

    fourier_window: Tensor

    def __init__(
        self,
        conditioner: Conditioner | None = None,
        channels: int = 112,
        num_layers: int = 8,
        dilation_cycle: int = 4,
        step_dim: int = 128,
        window: int = 512,
        hop: int = 256,
    ):
        super().__init__()
        self.conditioner = conditioner
        self.hop = hop
        bins = window // 2 + 1
        self.register_buffer("fourier_window", torch.hann_window(window).sqrt(), persistent=False)
        self.frames_in = nn.Conv1d(bins, channels, 1)
        width = None if conditioner is None else conditioner.head.out_features
        self.body = ResidualStack(channels, num_layers, dilation_cycle, step_dim, width)
        self.mix = nn.Conv1d(channels, channels, 1)
        self.mask_out = nn.Conv1d(channels, 2 * bins, 1)
        nn.init.zeros_(self.mask_out.weight)
        nn.init.zeros_(self.mask_out.bias)

    def forward(self, sample: Tensor, step: Tensor, condition: Tensor | None = None) -> Tensor:
        """Predicts noise (batch, time)."""
        time = sample.shape[-1]
        fourier = {"n_fft": len(self.fourier_window), "hop_length": self.hop, "window": self.fourier_window}
        with torch.autocast(sample.device.type, enabled=False):  # the transform needs float32
            padded = F.pad(sample.float(), (0, -time % self.hop))
            spectrum = torch.stft(padded, **fourier, normalized=True, pad_mode="constant", return_complex=True)
            level = (spectrum.abs() + 1e-2).log()  # (batch, bins, frames)
        if condition is not None and condition.shape[-1] != level.shape[-1]:
            condition = F.interpolate(condition, level.shape[-1], mode="linear", align_corners=True)
        skip = self.body(self.frames_in(level).relu(), step, condition)
        real, imaginary = self.mask_out(self.mix(skip).relu()).float().chunk(2, dim=1)
        with torch.autocast(sample.device.type, enabled=False):
            masked = spectrum * torch.complex(real, imaginary)
            return torch.istft(masked, **fourier, normalized=True, length=padded.shape[-1])[:, :time]


class ResidualStack(nn.Module):
    """Residual blocks with a step embedding: hidden (batch, channels, time) -> the sum of their skips, same shape.

    Args:
        channels: Width.
        num_layers: Blocks.
        dilation_cycle: Block i has dilation 2^(i mod dilation_cycle).
        step_dim: Width of the step embedding.
        condition_dim: Width of the condition; None for none.
    """

    def __init__(self, channels: int, num_layers: int, dilation_cycle: int, step_dim: int, condition_dim: int | None):
        super().__init__()
        self.step = StepEmbedding(step_dim)
        self.blocks = nn.ModuleList(
            ResidualBlock(channels, 2 ** (layer % dilation_cycle), step_dim, condition_dim)
            for layer in range(num_layers)
        )

    def forward(self, hidden: Tensor, step: Tensor, condition: Tensor | None) -> Tensor:
        """Sums the blocks' skips, at unit scale."""
        embedding, total = self.step(step), 0
        for block in self.blocks:
            hidden, skip = block(hidden, embedding, condition)
            total = total + skip
        return total / math.sqrt(len(self.blocks))


class ResidualBlock(nn.Module):
    """DiffWave's gated block, its dilated convolution over past and future: (batch, channels, time) -> two such."""

    def __init__(self, channels: int, dilation: int, step_dim: int, condition_dim: int | None):
        super().__init__()
        self.step = nn.Linear(step_dim, channels)
        self.dilated = nn.Conv1d(channels, 2 * channels, 3, padding=dilation, dilation=dilation)
        self.condition = None
        if condition_dim is not None:
            self.condition = nn.Conv1d(condition_dim, 2 * channels, 1, bias=False)
            nn.init.zeros_(self.condition.weight)  # starts as the unconditional network
        self.out = nn.Conv1d(channels, 2 * channels, 1)

    def forward(self, hidden: Tensor, embedding: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor]:
        """Returns what the next block gets, and the skip."""
        gates = self.dilated(hidden + self.step(embedding)[..., None])
        if condition is not None:
            gates = gates + self.condition(condition)
        gate, filtered = gates.chunk(2, dim=1)
        residual, skip = self.out(gate.sigmoid() * filtered.tanh()).chunk(2, dim=1)
        return (hidden + residual) / math.sqrt(2), skip


class StepEmbedding(nn.Module):
    """Step (batch,) -> (batch, step_dim): sines and cosines, linear between whole steps, and two layers."""

    def __init__(self, step_dim: int):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(2 * NUM_FREQUENCIES, step_dim), nn.SiLU(), nn.Linear(step_dim, step_dim), nn.SiLU()
        )

    def forward(self, step: Tensor) -> Tensor:
        """Embeds steps, fractions allowed."""
        low = step.float().floor()
        weight = (step - low).float()[:, None]
        return self.layers(torch.lerp(self._waves(low), self._waves(low + 1), weight))

    @staticmethod
    def _waves(step: Tensor) -> Tensor:
        places = torch.arange(NUM_FREQUENCIES, device=step.device)
        angles = step[:, None] * 10 ** (4 * places / (NUM_FREQUENCIES - 1))
        return torch.cat([angles.sin(), angles.cos()], dim=1)


class Upsampler(nn.Module):
    """DiffWave's two transposed convolutions: (batch, dim, frames) -> (batch, dim, time), 256 times as long."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(nn.ConvTranspose2d(1, 1, (3, 32), stride=(1, 16), padding=(1, 8)) for _ in range(2))

    def forward(self, condition: Tensor, time: int) -> Tensor:
        """Upsamples, with frame k around sample 256 k."""
        image = condition[:, None]
        for layer in self.layers:
            image = F.leaky_relu(layer(image), 0.4)
        return image[:, 0, :, HOP // 2 : HOP // 2 + time]
