"""ResNet r-vectors of wespeaker, from ResNet34 to ResNet293, on Kaldi filterbanks.

Zeinali et al. 2019, "BUT system description to VoxCeleb speaker recognition challenge 2019" (arXiv 1910.12592); depths
and state-dict names are those of wespeaker (Wang et al. 2023, arXiv 2210.17016), whose folders `load_wespeaker` reads.
"""

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from voxcert.encoders.base import FeatureEncoder
from voxcert.encoders.frontends import KaldiFbank
from voxcert.encoders.networks.pooling import StatisticsPooling, require_frames
from voxcert.encoders.networks.residual import DOWNSAMPLING, BasicBlock, Bottleneck, require_bands, stage

DEPTHS = {
    34: (BasicBlock, (3, 4, 6, 3)),
    152: (Bottleneck, (3, 8, 36, 3)),
    221: (Bottleneck, (6, 16, 48, 3)),
    293: (Bottleneck, (10, 20, 64, 3)),
}
"""Depth -> block and number of blocks of each of the four stages."""


class ResNet(FeatureEncoder):
    """ResNet with statistics pooling; the defaults are wespeaker's VoxCeleb ResNet34.

    Args:
        depth: 34, 152, 221 or 293, as published.
        channels: Width of the first stage; each further stage doubles it.
        dim: Size of the embedding.
        num_mels: Mel bands, a multiple of 8.
        window: Window function; hamming for all published weights.
        scale: Factor of the waveform; 32768 for all published weights, which know int16 amplitudes.

    Raises:
        ValueError: If `depth` or `num_mels` is none of these, or if a waveform is shorter than 9 frames (1680 samples).
    """

    def __init__(
        self,
        depth: int = 34,
        channels: int = 32,
        dim: int = 256,
        num_mels: int = 80,
        window: Literal["hamming", "povey"] = "hamming",
        scale: float = 32768.0,
    ):
        super().__init__()
        if depth not in DEPTHS:
            raise ValueError(f"depth must be one of {', '.join(map(str, DEPTHS))}, got {depth}")
        require_bands(num_mels)
        self.dim = dim
        self.frontend = KaldiFbank(num_mels, window, scale)
        self.network = ResNetNetwork(depth, channels, dim, num_mels)

    def embed_features(self, features: Tensor) -> Tensor:
        """Embeds Kaldi features (batch, frames, num_mels) as (batch, dim), not normalised."""
        return self.network(features)


class ResNetNetwork(nn.Module):
    """The network alone, features (batch, frames, num_mels) to (batch, dim); arguments as for `ResNet`."""

    def __init__(self, depth: int, channels: int, dim: int, num_mels: int):
        super().__init__()
        block, num_blocks = DEPTHS[depth]
        self.conv1 = nn.Conv2d(1, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        in_channels = channels
        for i in range(4):
            width = channels * 2**i
            out_channels = block.expansion * width
            layer = stage(block, in_channels, width, out_channels, num_blocks[i], stride=1 if i == 0 else 2)
            self.add_module(f"layer{i + 1}", layer)
            in_channels = out_channels
        self.pool = StatisticsPooling()
        self.seg_1 = nn.Linear(2 * in_channels * num_mels // DOWNSAMPLING, dim)

    def forward(self, features: Tensor) -> Tensor:
        """Embeds features (batch, frames, num_mels) of at least 9 frames as (batch, dim)."""
        require_frames(features, DOWNSAMPLING + 1)
        x = features.transpose(1, 2).unsqueeze(1)  # (batch, 1, num_mels, frames)
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.seg_1(self.pool(x))
