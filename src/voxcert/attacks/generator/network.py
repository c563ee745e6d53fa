"""The network of SSED, which forges an utterance in one forward pass: what to add, and where it matters.

Yao et al. 2022, eq. (3) and section IV-A: delta = epsilon * (n * m). Widths, strides and output functions, which the
paper leaves open, are by default those of the image generator it builds on (Lu et al. 2021, arXiv 2107.09225).
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from voxcert.encoders.base import public_path

KERNELS = 7, 3, 3
"""Of the encoder's convolutions; the decoders have them in reverse."""


class SaliencyGenerator(nn.Module):
    """Waveforms (batch, time) of any length -> noise and its saliency, both (batch, time).

    An encoder of three convolutions and residual blocks feeds two decoders of three transposed convolutions each. With
    a `window` they see the log-magnitudes of the short-time spectrum, and the noise is that spectrum times decoded
    gains: this is beyond the paper, whose network has to learn a spectrum before it can change one.

    Args:
        channels: Widths of the three convolutions; the residual blocks have the last.
        strides: Steps of the three convolutions; waveforms (or spectra) are padded to a multiple of their product.
        dilations: Of the residual blocks, one each. The paper's blocks are taken to have 1; powers of two let the
            network see more of the voice at no cost.
        window: Samples of a window of the short-time spectrum, which are a quarter of it apart; None is the paper's
            network, on waveforms.
        saliency: Whether there is a saliency decoder; without one the saliency is 1.
        epsilon: Bound on the amplitude of the perturbation, waveform amplitude; an attribute, to be changed at will.
        target: The speaker it forges, once trained for one; None while untrained or for any speaker.
        target_dim: Size of the target's embedding, for a generator that can be told to forge anyone; None is for one
            target, as in the paper.

    Raises:
        ValueError: If there are not three channels and strides, a dilation or epsilon is not positive, or a window is
            not a multiple of 4.
    """

    def __init__(
        self,
        channels: tuple[int, int, int] = (32, 64, 128),
        strides: tuple[int, int, int] = (1, 2, 2),
        dilations: tuple[int, ...] = (1, 1, 1, 1, 1, 1),
        window: int | None = None,
        saliency: bool = True,
        epsilon: float = 0.05,
        target: str | None = None,
        target_dim: int | None = None,
    ):
        super().__init__()
        for name, values in (("channels", channels), ("strides", strides)):
            if len(values) != len(KERNELS) or min(values) < 1:
                raise ValueError(f"{name} must be three positive numbers, got {values}")
        if not epsilon > 0:
            raise ValueError(f"epsilon must be positive, got {epsilon}")
        if any(dilation < 1 for dilation in dilations):
            raise ValueError(f"dilations must be positive, got {dilations}")
        if window is not None and (window < 4 or window % 4):
            raise ValueError(f"window must be a multiple of 4 samples, got {window}")
        self.epsilon, self.target, self.target_dim = epsilon, target, target_dim
        sizes = {"channels": list(channels), "strides": list(strides), "dilations": list(dilations)}
        self._sizes = sizes | {"window": window}
        self.spectrum = None if window is None else Spectrum(window)
        inputs = 1 if window is None else window // 2 + 1
        widths = inputs, *channels
        self.encoder = nn.Sequential(*map(_convolution, widths[:-1], widths[1:], KERNELS, strides))
        self.residual = nn.Sequential(*(Residual(channels[-1], dilation) for dilation in dilations))
        self.condition = nn.Linear(target_dim, 2 * channels[-1]) if target_dim else None
        self.noise = _decoder((inputs, *channels), strides)
        self.saliency = _decoder((1, *channels), strides) if saliency else None
        self.multiple = math.prod(strides)

    @property
    def config(self) -> dict[str, Any]:
        """How to build it again: class_path and init_args."""
        kept = {"saliency": self.saliency is not None, "epsilon": self.epsilon}
        whose = {"target": self.target, "target_dim": self.target_dim}
        return {"class_path": public_path(type(self)), "init_args": self._sizes | kept | whose}

    def forward(self, waveform: Tensor, target: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Computes n in [-1, 1] and m in [0, 1] of eq. (3).

        Args:
            waveform: Shape (batch, time).
            target: Embeddings to forge, shape (batch, target_dim); only with `target_dim`.

        Raises:
            ValueError: If a target is missing or of another shape, or given to a generator that has one for good.
        """
        needed = None if self.condition is None else (len(waveform), self.target_dim)
        given = None if target is None else tuple(target.shape)
        if given != needed:
            wanted = "be None: the generator has one target" if needed is None else f"have shape {needed}"
            raise ValueError(f"target must {wanted}, got {given}")
        time = waveform.shape[-1]
        spectrum = None if self.spectrum is None else self.spectrum(waveform)
        code = waveform[:, None] if spectrum is None else log_magnitude(spectrum)  # (batch, inputs, steps)
        steps = code.shape[-1]
        code = self.encoder(F.pad(code, (0, -steps % self.multiple)))  # (batch, channels, frames)
        if self.condition is not None:
            scale, shift = self.condition(target)[..., None].chunk(2, dim=1)
            code = code * (1 + scale) + shift
        code = self.residual(code)
        noise = self.noise(code)[..., :steps].float()
        noise = noise[:, 0] if spectrum is None else self.spectrum.inverse(noise * spectrum, time)
        noise = noise.tanh()
        if self.saliency is None:
            return noise, torch.ones_like(noise)
        saliency = self.saliency(code)[..., :steps].float()
        if spectrum is not None:
            saliency = F.interpolate(saliency, time, mode="linear")
        return noise, saliency[:, 0].sigmoid()


class Spectrum(nn.Module):
    """Short-time Fourier transform with Hann windows that overlap by three quarters, and its inverse.

    Args:
        window: Samples of a window.
    """

    def __init__(self, window: int):
        super().__init__()
        self.size = window
        self.register_buffer("hann", torch.hann_window(window), persistent=False)

    def forward(self, waveform: Tensor) -> Tensor:
        """Waveforms (batch, time) -> complex (batch, bins, steps)."""
        settings = {"hop_length": self.size // 4, "window": self.hann, "pad_mode": "constant"}
        return torch.stft(waveform.float(), self.size, **settings, return_complex=True)

    def inverse(self, spectrum: Tensor, time: int) -> Tensor:
        """Complex (batch, bins, steps) -> waveforms (batch, time)."""
        return torch.istft(spectrum, self.size, hop_length=self.size // 4, window=self.hann, length=time)


def log_magnitude(spectrum: Tensor) -> Tensor:
    """Log-magnitudes of complex spectra (batch, bins, steps), less their mean: how loud speech is does not matter."""
    logarithm = (spectrum.abs() + 1e-4).log()
    return logarithm - logarithm.mean(dim=(1, 2), keepdim=True)


class Residual(nn.Module):
    """Two convolutions beside the identity: (batch, channels, frames) -> the same shape."""

    def __init__(self, channels: int, dilation: int = 1):
        super().__init__()
        self.layers = nn.Sequential(
            _convolution(channels, channels, 3, 1, dilation),
            nn.Conv1d(channels, channels, 3, padding=dilation, dilation=dilation, bias=False),
            nn.BatchNorm1d(channels),
        )

    def forward(self, code: Tensor) -> Tensor:
        """Adds to the code what the layers make of it."""
        return code + self.layers(code)


def _convolution(inputs: int, outputs: int, kernel: int, stride: int, dilation: int = 1) -> nn.Sequential:
    """Frames -> frames / stride."""
    convolution = nn.Conv1d(inputs, outputs, kernel, stride, dilation * (kernel // 2), dilation, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm1d(outputs), nn.ReLU())


def _decoder(channels: tuple[int, int, int, int], strides: tuple[int, int, int]) -> nn.Sequential:
    """Mirrors the convolutions: (batch, channels, frames) -> (batch, outputs, frames * strides), of any amplitude."""
    output, first, second, third = channels
    layers: list[nn.Module] = []
    sizes = zip((third, second, first), (second, first, output), KERNELS[::-1], strides[::-1], strict=True)
    for number, (inputs, outputs, kernel, stride) in enumerate(sizes, start=1):
        is_last = number == len(KERNELS)
        layers.append(
            nn.ConvTranspose1d(inputs, outputs, kernel, stride, kernel // 2, output_padding=stride - 1, bias=is_last)
        )
        layers += [] if is_last else [nn.BatchNorm1d(outputs), nn.ReLU()]
    return nn.Sequential(*layers)
