"""Purifiers without a network: smoothing filters, noise, quantisation and lossy codecs.

Spatial smoothing is that of Wu et al. 2020 (ICASSP) and noise addition that of Chang et al. 2021, both as compared by
Chen et al. 2024 (TDAP, Table 1); codecs and quantisation are among the transformations of Chen et al. 2022 (IEEE TDSC).
"""

import io
import math
from typing import Literal

import numpy as np
import soundfile
import torch
import torch.nn.functional as F
from torch import Tensor

from voxcert.data.audio import SAMPLE_RATE
from voxcert.purifiers.base import Purifier

FORMATS = {"ogg": ("OGG", "VORBIS"), "opus": ("OGG", "OPUS"), "mp3": ("MP3", "MPEG_LAYER_III")}
GAUSSIAN_REACH = 4.0  # standard deviations that a Gaussian filter extends to either side


class MedianFilter(Purifier):
    """Median of every sample's neighbourhood; the gradient is that of the sample which is the median.

    Args:
        kernel_size: Samples in a neighbourhood, odd. The paper does not say which it used.

    Examples:
        >>> import torch
        >>> from voxcert.purifiers import MedianFilter
        >>> click = torch.tensor([[0.0, 0.0, 0.1, 0.9, 0.2, 0.3]])
        >>> MedianFilter(3)(click)
        tensor([[0.0000, 0.0000, 0.1000, 0.2000, 0.3000, 0.2000]])
    """

    def __init__(self, kernel_size: int = 3):
        super().__init__()
        self.kernel_size = _odd(kernel_size)

    def purify(self, waveform: Tensor, text: Tensor | None) -> Tensor:
        """Filters waveforms (batch, time), reflected at both ends."""
        return _reflected(waveform, self.kernel_size // 2).unfold(1, self.kernel_size, 1).median(dim=2).values


class _LinearFilter(Purifier):
    """Convolution with a symmetric kernel of sum 1, the waveform reflected at both ends."""

    kernel: Tensor

    def __init__(self, kernel: Tensor):
        super().__init__()
        self.register_buffer("kernel", (kernel / kernel.sum()).float(), persistent=False)

    def purify(self, waveform: Tensor, text: Tensor | None) -> Tensor:
        """Filters waveforms (batch, time)."""
        padded = _reflected(waveform, len(self.kernel) // 2)
        return F.conv1d(padded[:, None], self.kernel.to(waveform.dtype)[None, None])[:, 0]


class MeanFilter(_LinearFilter):
    """Mean of every sample's neighbourhood.

    Args:
        kernel_size: Samples in a neighbourhood, odd. The paper does not say which it used.
    """

    def __init__(self, kernel_size: int = 3):
        super().__init__(torch.ones(_odd(kernel_size)))


class GaussianFilter(_LinearFilter):
    """Convolution with a Gaussian: a low-pass filter.

    Args:
        std: Standard deviation of the kernel in samples. The paper does not say which it used.
    """

    def __init__(self, std: float = 1.0):
        if not 0 < std < math.inf:
            raise ValueError(f"std must be finite and above 0, got {std}")
        reach = math.ceil(GAUSSIAN_REACH * std)
        super().__init__(torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / std) ** 2))


class AddNoise(Purifier):
    """White Gaussian noise, which drowns the attacker's (and some of the speaker).

    Args:
        sigma: Standard deviation of the noise, waveform amplitude.
        seed: None draws fresh noise for every waveform. A number adds the very same noise every time, which makes a
            function of the waveform; but whoever knows the seed attacks the encoder behind it as if it were not there.
    """

    def __init__(self, sigma: float, seed: int | None = None):
        super().__init__()
        if not 0 <= sigma < math.inf:
            raise ValueError(f"sigma must be finite and at least 0, got {sigma}")
        self.sigma, self.seed = sigma, seed

    def purify(self, waveform: Tensor, text: Tensor | None) -> Tensor:
        """Adds noise to waveforms (batch, time)."""
        return waveform + self.sigma * self.noise(waveform)[0]


class Quantise(Purifier):
    """Rounding to fewer bits; its gradient is 0 almost everywhere.

    Args:
        bits: Bits per sample: 2 ** bits steps from -1 to 1, and one more so that 0 stays 0.
    """

    differentiable = False

    def __init__(self, bits: int = 8):
        super().__init__()
        if not 1 <= bits <= 24:
            raise ValueError(f"bits must be in [1, 24], got {bits}")
        self.bits = bits

    def purify(self, waveform: Tensor, text: Tensor | None) -> Tensor:
        """Rounds waveforms (batch, time)."""
        step = 2.0 ** (1 - self.bits)
        return (waveform / step).round() * step


class Codec(Purifier):
    """A round trip through a lossy codec of libsndfile, in memory; samples outside [-1, 1] are clipped.

    There is no gradient, and rows are encoded one by one on the CPU; of 3 s, in 0.1 s or (Opus) 0.5 s. The result is in
    step with the input.

    Args:
        format: `ogg` (Vorbis), `opus` or `mp3`.
        compression: 0 compresses least, 1 most, as libsndfile counts; None is its default. At 16 kHz about 50
            (Vorbis), 30 (Opus) and 45 kbit/s (MP3).
    """

    differentiable = False

    def __init__(self, format: Literal["ogg", "opus", "mp3"] = "ogg", compression: float | None = None):
        super().__init__()
        if format not in FORMATS:
            raise ValueError(f"format must be one of {', '.join(FORMATS)}, got {format!r}")
        if compression is not None and not 0 <= compression < 1:
            raise ValueError(f"compression must be in [0, 1) or null, got {compression}")
        self.format, self.compression = format, compression

    def purify(self, waveform: Tensor, text: Tensor | None) -> Tensor:
        """Encodes and decodes waveforms (batch, time)."""
        rows = [self._round_trip(row) for row in waveform.detach().cpu().float().numpy()]
        return torch.from_numpy(np.stack(rows)).to(waveform) if rows else waveform

    def _round_trip(self, samples: np.ndarray) -> np.ndarray:
        kind, subtype = FORMATS[self.format]
        file = io.BytesIO()
        soundfile.write(
            file,
            samples.clip(-1, 1),
            SAMPLE_RATE,
            format=kind,
            subtype=subtype,
            compression_level=self.compression,
        )
        file.seek(0)
        decoded, _ = soundfile.read(file, dtype="float32")
        return np.pad(decoded, (0, max(0, len(samples) - len(decoded))))[: len(samples)]


def _odd(kernel_size: int) -> int:
    if kernel_size < 1 or kernel_size % 2 == 0:
        raise ValueError(f"kernel_size must be odd and at least 1, got {kernel_size}")
    return kernel_size


def _reflected(waveform: Tensor, reach: int) -> Tensor:
    """Waveforms (batch, time) with `reach` samples more at both ends."""
    if waveform.shape[1] <= reach:
        raise ValueError(f"waveform must be longer than half the filter, {reach} samples, got {waveform.shape[1]}")
    return F.pad(waveform[:, None], (reach, reach), mode="reflect")[:, 0]
