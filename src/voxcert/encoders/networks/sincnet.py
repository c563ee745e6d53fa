"""The blocks of the SincNet speaker network: sinc filters, layer normalisation, convolutions, perceptrons.

Ravanelli and Bengio 2018, "Speaker recognition from raw waveform with SincNet" (arXiv 1808.00158), eq. 4 and sec. 4;
names and details are those of the published code. It also stores a batch normalisation for every convolution, a layer
normalisation for every linear layer and one of each for the classes, and uses none of them; they are not here.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from voxcert.encoders.frontends import SAMPLE_RATE

FILTER_SAMPLES, KERNEL, POOL = 251, 5, 3
LEAST_HZ = 50.0  # of a filter's lower edge, and of its width


class SincConvolution(nn.Module):
    """A convolution with band-pass filters, of which only the two edges are learnt.

    Args:
        num_filters: Filters, spaced evenly on the mel scale to begin with.

    Attributes:
        low_hz_: The lower edge is `LEAST_HZ + |low_hz_|`; shape (num_filters, 1).
        band_hz_: The width is `LEAST_HZ + |band_hz_|`; shape (num_filters, 1).
    """

    times: Tensor
    window: Tensor

    def __init__(self, num_filters: int):
        super().__init__()
        lowest, highest = (2595 * math.log10(1 + hz / 700) for hz in (30, SAMPLE_RATE / 2 - 2 * LEAST_HZ))
        mel = torch.linspace(lowest, highest, num_filters + 1, dtype=torch.float64)
        hz = (700 * (10 ** (mel / 2595) - 1)).unsqueeze(1)
        self.low_hz_ = nn.Parameter(hz[:-1].float())
        self.band_hz_ = nn.Parameter(hz.diff(dim=0).float())
        half = FILTER_SAMPLES // 2  # filters are symmetric: only the half before the centre is computed
        steps = torch.linspace(0, FILTER_SAMPLES / 2 - 1, half)
        self.register_buffer("times", 2 * math.pi * torch.arange(-half, 0) / SAMPLE_RATE, persistent=False)
        self.register_buffer("window", 0.54 - 0.46 * torch.cos(2 * math.pi * steps / FILTER_SAMPLES), persistent=False)

    def filters(self) -> Tensor:
        """The filters, shape (num_filters, FILTER_SAMPLES); each is one at its centre."""
        low = LEAST_HZ + self.low_hz_.abs()
        high = (low + LEAST_HZ + self.band_hz_.abs()).clamp(max=SAMPLE_RATE / 2)
        sines = torch.sin(high * self.times) - torch.sin(low * self.times)
        left = sines / (self.times * (high - low)) * self.window
        return torch.cat([left, torch.ones_like(low), left.flip(1)], dim=1)

    def forward(self, waveform: Tensor) -> Tensor:
        """Filters (batch, 1, time) to (batch, num_filters, time - FILTER_SAMPLES + 1)."""
        return F.conv1d(waveform, self.filters().unsqueeze(1))


class LayerNorm(nn.Module):
    """Normalises over the last dimension by the unbiased deviation; gain and shift may have more dimensions.

    Args:
        shape: Shape of gain and shift.
    """

    def __init__(self, *shape: int):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(shape))
        self.beta = nn.Parameter(torch.zeros(shape))

    def forward(self, x: Tensor) -> Tensor:
        """Normalises (batch, *shape), in float32."""
        std, mean = torch.std_mean(x.float(), dim=-1, keepdim=True)
        return self.gamma * (x - mean) / (std + 1e-6) + self.beta


class Convolutions(nn.Module):
    """Chunks of waveform -> flat features: three times convolution, max-pooling, layer normalisation, leaky ReLU.

    Args:
        chunk_samples: Length of a chunk.
        num_filters: Sinc filters of the first convolution.
        channels: Width of the other two.

    Attributes:
        num_features: Size of the output.
    """

    def __init__(self, chunk_samples: int, num_filters: int, channels: int):
        super().__init__()
        self.ln0 = LayerNorm(chunk_samples)
        self.conv = nn.ModuleList(
            [
                SincConvolution(num_filters),
                nn.Conv1d(num_filters, channels, KERNEL),
                nn.Conv1d(channels, channels, KERNEL),
            ]
        )
        lengths = [(chunk_samples - FILTER_SAMPLES + 1) // POOL]
        lengths.append((lengths[0] - KERNEL + 1) // POOL)
        lengths.append((lengths[1] - KERNEL + 1) // POOL)
        widths = [num_filters, channels, channels]
        self.ln = nn.ModuleList(LayerNorm(width, length) for width, length in zip(widths, lengths, strict=True))
        self.num_features = channels * lengths[-1]

    def forward(self, chunks: Tensor) -> Tensor:
        """Maps chunks (batch, chunk_samples) to features (batch, num_features)."""
        x = self.conv[0](self.ln0(chunks).unsqueeze(1)).abs()
        x = F.leaky_relu(self.ln[0](F.max_pool1d(x, POOL)), 0.2)
        for convolution, norm in zip(self.conv[1:], self.ln[1:], strict=True):
            x = F.leaky_relu(norm(F.max_pool1d(convolution(x), POOL)), 0.2)
        return x.flatten(1)


class Perceptron(nn.Module):
    """Flat features -> d-vector: layer normalisation, then three linear layers with batch normalisation and leaky ReLU.

    Args:
        num_features: Size of the input.
        dim: Size of the output and of the layers between.
    """

    def __init__(self, num_features: int, dim: int):
        super().__init__()
        self.ln0 = LayerNorm(num_features)
        self.wx = nn.ModuleList([_linear(num_features, dim), _linear(dim, dim), _linear(dim, dim)])
        self.bn = nn.ModuleList(nn.BatchNorm1d(dim, momentum=0.05) for _ in self.wx)

    def forward(self, features: Tensor) -> Tensor:
        """Maps (batch, num_features) to (batch, dim)."""
        x = self.ln0(features)
        for linear, norm in zip(self.wx, self.bn, strict=True):
            x = F.leaky_relu(norm(linear(x)), 0.2)
        return x


class Classifier(nn.Module):
    """d-vector -> log-posteriors of the training speakers.

    Args:
        dim: Size of a d-vector.
        num_classes: Training speakers.
    """

    def __init__(self, dim: int, num_classes: int):
        super().__init__()
        self.wx = nn.ModuleList([_linear(dim, num_classes)])

    def forward(self, d_vectors: Tensor) -> Tensor:
        """Maps (batch, dim) to natural logarithms of posteriors (batch, num_classes)."""
        return F.log_softmax(self.wx[0](d_vectors), dim=-1)


def _linear(inputs: int, outputs: int) -> nn.Linear:
    """A linear layer with the published initialisation, a tenth of Glorot's."""
    linear = nn.Linear(inputs, outputs)
    bound = math.sqrt(0.01 / (inputs + outputs))
    nn.init.uniform_(linear.weight, -bound, bound)
    nn.init.zeros_(linear.bias)
    return linear
