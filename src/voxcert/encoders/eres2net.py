"""ERes2Net (Chen et al. 2023, arXiv 2305.12838): Res2Net blocks fused by attention within a block and across stages.

State-dict names are those of wespeaker, whose folders `load_wespeaker` reads.
"""

from functools import partial
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from voxcert.encoders.base import FeatureEncoder
from voxcert.encoders.frontends import KaldiFbank
from voxcert.encoders.networks.eres2net import AttentiveFusion, FusedBlock, SummedBlock
from voxcert.encoders.networks.pooling import StatisticsPooling, require_frames
from voxcert.encoders.networks.residual import DOWNSAMPLING, require_bands, stage

NUM_BLOCKS = (3, 4, 6, 3)


class ERes2Net(FeatureEncoder):
    """ERes2Net with statistics pooling; the defaults are wespeaker's ERes2Net34_Base.

    ERes2Net34_Large has `channels=64`. 3D-Speaker's Mandarin model of 200 000 speakers, ERes2Net34_aug in wespeaker,
    has `channels=64, dim=192, expansion=4, base_width=24, res2net_scale=3, window="povey", scale=1.0`.

    Args:
        channels: Width of the first stage; each further stage doubles it.
        dim: Size of the embedding.
        expansion: Output channels of a block over its width.
        base_width: Channels of a Res2Net group, in 64ths of the stage's width.
        res2net_scale: Groups of each Res2Net block.
        num_mels: Mel bands, a multiple of 8.
        window: Window function; hamming for weights trained with wespeaker, povey for those of 3D-Speaker.
        scale: Factor of the waveform; 32768 for weights trained with wespeaker, 1 for those of 3D-Speaker.

    Raises:
        ValueError: If `num_mels` is no multiple of 8, if `channels` times `base_width` is below 64, or if a waveform is
            shorter than 9 frames (1680 samples).
    """

    def __init__(
        self,
        channels: int = 32,
        dim: int = 512,
        expansion: int = 2,
        base_width: int = 32,
        res2net_scale: int = 2,
        num_mels: int = 80,
        window: Literal["hamming", "povey"] = "hamming",
        scale: float = 32768.0,
    ):
        super().__init__()
        if channels * base_width < 64:
            raise ValueError(f"base_width must be at least {64 / channels:g} for {channels} channels, got {base_width}")
        require_bands(num_mels)
        self.dim = dim
        self.frontend = KaldiFbank(num_mels, window, scale)
        self.network = ERes2NetNetwork(channels, dim, expansion, base_width, res2net_scale, num_mels)

    def embed_features(self, features: Tensor) -> Tensor:
        """Embeds Kaldi features (batch, frames, num_mels) as (batch, dim), not normalised."""
        return self.network(features)


class ERes2NetNetwork(nn.Module):
    """The network alone, features (batch, frames, num_mels) to (batch, dim); arguments as for `ERes2Net`."""

    def __init__(self, channels: int, dim: int, expansion: int, base_width: int, res2net_scale: int, num_mels: int):
        super().__init__()
        self.conv1 = nn.Conv2d(1, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        outputs = [expansion * channels * 2**i for i in range(4)]
        for i, kind in enumerate((SummedBlock, SummedBlock, FusedBlock, FusedBlock)):
            block = partial(kind, expansion=expansion, base_width=base_width, num_groups=res2net_scale)
            in_channels = outputs[i - 1] if i else channels
            layer = stage(block, in_channels, channels * 2**i, outputs[i], NUM_BLOCKS[i], stride=2 if i else 1)
            self.add_module(f"layer{i + 1}", layer)
        self.layer1_downsample = nn.Conv2d(outputs[0], outputs[1], 3, stride=2, padding=1, bias=False)
        self.layer2_downsample = nn.Conv2d(outputs[1], outputs[2], 3, stride=2, padding=1, bias=False)
        self.layer3_downsample = nn.Conv2d(outputs[2], outputs[3], 3, stride=2, padding=1, bias=False)
        self.fuse_mode12 = AttentiveFusion(outputs[1])
        self.fuse_mode123 = AttentiveFusion(outputs[2])
        self.fuse_mode1234 = AttentiveFusion(outputs[3])
        self.pool = StatisticsPooling()
        self.seg_1 = nn.Linear(2 * outputs[3] * num_mels // DOWNSAMPLING, dim)

    def forward(self, features: Tensor) -> Tensor:
        """Embeds features (batch, frames, num_mels) of at least 9 frames as (batch, dim)."""
        require_frames(features, DOWNSAMPLING + 1)
        x = features.transpose(1, 2).unsqueeze(1)  # (batch, 1, num_mels, frames)
        x = self.layer1(F.relu(self.bn1(self.conv1(x))))
        fused = self.layer1_downsample(x)
        x = self.layer2(x)
        fused = self.layer2_downsample(self.fuse_mode12(x, fused))
        x = self.layer3(x)
        fused = self.layer3_downsample(self.fuse_mode123(x, fused))
        fused = self.fuse_mode1234(self.layer4(x), fused)
        return self.seg_1(self.pool(fused))
