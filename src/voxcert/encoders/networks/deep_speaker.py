"""The residual network of Deep Speaker as philipperemy/deep-speaker has it.

It follows Li et al. 2017 (arXiv 1705.02304), sec. 3.1, in Keras' arithmetic: padding as TensorFlow's 'same', batch
normalisation with an epsilon of 1e-3, and rectified units clipped at 20, before and after every residual is added.
"""

import math

import torch.nn.functional as F
from torch import Tensor, nn


class SameConv2d(nn.Conv2d):
    """A convolution whose output has size ceil(input / stride); an odd row of padding goes after, not before."""

    def forward(self, x: Tensor) -> Tensor:
        """Maps (batch, inputs, height, width) to (batch, outputs, height / stride, width / stride), rounded up."""
        height, width = (_same(*sizes) for sizes in zip(x.shape[2:], self.kernel_size, self.stride, strict=True))
        return super().forward(F.pad(x, (*width, *height)))


class Block(nn.Module):
    """Two convolutions and their input, added."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(channels, channels, 3, padding=1), _norm(channels)
        self.conv2, self.bn2 = nn.Conv2d(channels, channels, 3, padding=1), _norm(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (batch, channels, frames, mels) to the same shape."""
        y = _clipped(self.bn1(self.conv1(x)))
        return _clipped(_clipped(self.bn2(self.conv2(y))) + x)


class Stage(nn.Module):
    """A convolution that halves frames and mels, and three residual blocks."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.conv, self.bn = SameConv2d(inputs, outputs, 5, stride=2), _norm(outputs)
        self.blocks = nn.Sequential(*(Block(outputs) for _ in range(3)))

    def forward(self, x: Tensor) -> Tensor:
        """Maps (batch, inputs, frames, mels) to (batch, outputs, frames / 2, mels / 2), rounded up."""
        return self.blocks(_clipped(self.bn(self.conv(x))))


class ResCNN(nn.Module):
    """Four stages, the mean over time, and a linear layer.

    Args:
        num_mels: Mel bands, a multiple of 16.
        channels: Width of the first stage; every other has twice that of the one before.
        dim: Size of the embedding.
    """

    def __init__(self, num_mels: int, channels: int, dim: int):
        super().__init__()
        widths = [channels * 2**stage for stage in range(4)]
        self.stages = nn.Sequential(*(Stage(*pair) for pair in zip([1, *widths], widths, strict=False)))
        self.affine = nn.Linear(num_mels // 16 * widths[-1], dim)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)

    def forward(self, features: Tensor) -> Tensor:
        """Maps features (batch, frames, num_mels), any number of frames, to embeddings (batch, dim)."""
        x = self.stages(features.unsqueeze(1))  # (batch, channels, frames / 16, num_mels / 16)
        x = x.mean(dim=2).transpose(1, 2)  # (batch, num_mels / 16, channels): Keras has channels last
        return self.affine(x.flatten(1))


def _same(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Zeros before and after."""
    total = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


def _clipped(x: Tensor) -> Tensor:
    return x.clamp(0, 20)
