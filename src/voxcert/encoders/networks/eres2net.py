"""Blocks of ERes2Net (Chen et al. 2023, arXiv 2305.12838): section 2.1 (Res2Net and local fusion), eq. (3)-(5) (AFF).

A Res2Net block sends groups of channels through 3x3 convolutions one after the other, each hearing the one before.
"""

from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from voxcert.encoders.networks.residual import Stride, shortcut

CEILING = 20.0
"""Activations are clipped here, as in the networks that were published."""


def clipped_relu(x: Tensor) -> Tensor:
    """Clips to [0, 20]."""
    return F.hardtanh(x, 0.0, CEILING)


class AttentiveFusion(nn.Module):
    """Weighs two maps (batch, channels, bands, frames) against each other, by attention with weights in (0, 2).

    Args:
        channels: Channels of each map, at least 4.
    """

    def __init__(self, channels: int):
        super().__init__()
        bottleneck = channels // 4
        self.local_att = nn.Sequential(
            nn.Conv2d(2 * channels, bottleneck, 1),
            nn.BatchNorm2d(bottleneck),
            nn.SiLU(),
            nn.Conv2d(bottleneck, channels, 1),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Fuses two maps of one shape."""
        lean = torch.tanh(self.local_att(torch.cat([x, y], dim=1)))
        return x * (1 + lean) + y * (1 - lean)


class Res2Block(nn.Module, ABC):
    """What both kinds of blocks share: 1x1 convolutions around the groups, and the shortcut.

    Args:
        in_channels: Channels of the input.
        width: The stage's width.
        stride: Of the first convolution, bands and frames.
        expansion: Output channels over `width`.
        base_width: Channels of a group, in 64ths of `width`.
        num_groups: Groups of channels.
    """

    def __init__(
        self, in_channels: int, width: int, stride: Stride, *, expansion: int, base_width: int, num_groups: int
    ):
        super().__init__()
        self.num_groups, self.group_width = num_groups, width * base_width // 64
        inner, out_channels = num_groups * self.group_width, expansion * width
        self.conv1 = nn.Conv2d(in_channels, inner, 1, stride, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.shortcut = shortcut(in_channels, out_channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (batch, in_channels, bands, frames) to (batch, expansion * width, bands / stride, frames / stride)."""
        groups = clipped_relu(self.bn1(self.conv1(x))).chunk(self.num_groups, dim=1)
        y = self.bn3(self.conv3(torch.cat(self.chain(groups), dim=1)))
        return clipped_relu(y + self.shortcut(x))

    @abstractmethod
    def chain(self, groups: tuple[Tensor, ...]) -> list[Tensor]:
        """Sends the groups through their convolutions, each with what came out of the one before."""

    def _convolution(self) -> nn.Conv2d:
        return nn.Conv2d(self.group_width, self.group_width, 3, padding=1, bias=False)


class SummedBlock(Res2Block):
    """A Res2Net block: what came out of one group is added to the next."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.convs = nn.ModuleList(self._convolution() for _ in range(self.num_groups))
        self.bns = nn.ModuleList(nn.BatchNorm2d(self.group_width) for _ in range(self.num_groups))

    def chain(self, groups: tuple[Tensor, ...]) -> list[Tensor]:
        """Adds."""
        outputs: list[Tensor] = []
        for group, conv, bn in zip(groups, self.convs, self.bns, strict=True):
            outputs.append(clipped_relu(bn(conv(outputs[-1] + group if outputs else group))))
        return outputs


class FusedBlock(Res2Block):
    """A Res2Net block with local fusion: attention weighs what came out of one group against the next."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        rest = range(self.num_groups - 1)
        self.conv2_1, self.bn2_1 = self._convolution(), nn.BatchNorm2d(self.group_width)
        self.convs = nn.ModuleList(self._convolution() for _ in rest)
        self.bns = nn.ModuleList(nn.BatchNorm2d(self.group_width) for _ in rest)
        self.fuse_models = nn.ModuleList(AttentiveFusion(self.group_width) for _ in rest)

    def chain(self, groups: tuple[Tensor, ...]) -> list[Tensor]:
        """Fuses."""
        outputs = [clipped_relu(self.bn2_1(self.conv2_1(groups[0])))]
        for group, fuse, conv, bn in zip(groups[1:], self.fuse_models, self.convs, self.bns, strict=True):
            outputs.append(clipped_relu(bn(conv(fuse(outputs[-1], group)))))
        return outputs
