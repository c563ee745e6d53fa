"""Residual blocks on maps (batch, channels, bands, frames), with wespeaker's state-dict names.

He et al. 2016, "Deep residual learning for image recognition" (arXiv 1512.03385), figures 2 and 5.
"""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

Stride = int | tuple[int, int]
DOWNSAMPLING = 8
"""Factor by which three stages of stride 2 shorten bands or frames."""


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut, (batch, in_channels, ...) to (batch, width, ...).

    Args:
        in_channels: Channels of the input.
        width: Channels of the output.
        stride: Of the first convolution, bands and frames.
    """

    expansion = 1

    def __init__(self, in_channels: int, width: int, stride: Stride = 1):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, width, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.shortcut = shortcut(in_channels, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (batch, in_channels, bands, frames) to (batch, width, bands / stride, frames / stride)."""
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class Bottleneck(nn.Module):
    """A 3x3 convolution between two 1x1 ones beside a shortcut; four times as many channels go out.

    Args:
        in_channels: Channels of the input.
        width: Channels in between.
        stride: Of the 3x3 convolution, bands and frames.
    """

    expansion = 4

    def __init__(self, in_channels: int, width: int, stride: Stride = 1):
        super().__init__()
        out_channels = self.expansion * width
        self.conv1 = nn.Conv2d(in_channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.shortcut = shortcut(in_channels, out_channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (batch, in_channels, bands, frames) to (batch, 4 * width, bands / stride, frames / stride)."""
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        return F.relu(self.bn3(self.conv3(y)) + self.shortcut(x))


def shortcut(in_channels: int, out_channels: int, stride: Stride) -> nn.Sequential:
    """The identity, or a 1x1 convolution where the block changes the shape."""
    if stride == 1 and in_channels == out_channels:
        return nn.Sequential()
    convolution = nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(out_channels))


def stage(
    block: Callable[[int, int, Stride], nn.Module],
    in_channels: int,
    width: int,
    out_channels: int,
    num_blocks: int,
    stride: Stride,
) -> nn.Sequential:
    """Blocks of one width in a row, in_channels to out_channels; the first one takes the stride."""
    rest = [block(out_channels, width, 1) for _ in range(num_blocks - 1)]
    return nn.Sequential(block(in_channels, width, stride), *rest)


def require_bands(num_mels: int) -> None:
    """Raises ValueError unless three stages of stride 2 divide the mel bands evenly."""
    if num_mels < DOWNSAMPLING or num_mels % DOWNSAMPLING:
        raise ValueError(f"num_mels must be a positive multiple of {DOWNSAMPLING}, got {num_mels}")
