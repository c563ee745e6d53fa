"""CAM++ (Wang et al. 2023, arXiv 2303.00332): a densely connected TDNN whose layers mask themselves by their context.

State-dict names are those of wespeaker, whose folders `load_wespeaker` reads.
"""

from collections import OrderedDict
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from voxcert.encoders.base import FeatureEncoder
from voxcert.encoders.frontends import KaldiFbank
from voxcert.encoders.networks.pooling import StatisticsPooling, require_frames
from voxcert.encoders.networks.residual import DOWNSAMPLING, BasicBlock, require_bands, stage

HEAD_CHANNELS = 32
BLOCKS = ((12, 1), (24, 2), (16, 2))
"""Layers and dilation of each dense block."""
SEGMENT = 100
"""Frames that share one context, 2 s."""
LEAST_FRAMES = 3  # the stride of 2 leaves two to pool


class CAMPPlus(FeatureEncoder):
    """CAM++ with statistics pooling; the defaults are wespeaker's VoxCeleb CAM++.

    3D-Speaker's Mandarin model of 200 000 speakers has `dim=192, window="povey", scale=1.0`.

    Args:
        dim: Size of the embedding.
        growth_rate: Channels that each layer adds.
        bn_size: Bottleneck of a layer, in growth rates.
        init_channels: Channels that enter the first dense block.
        num_mels: Mel bands, a multiple of 8.
        window: Window function; hamming for weights trained with wespeaker, povey for those of 3D-Speaker.
        scale: Factor of the waveform; 32768 for weights trained with wespeaker, 1 for those of 3D-Speaker.

    Raises:
        ValueError: If `num_mels` is no multiple of 8, or if a waveform is shorter than 3 frames (720 samples).
    """

    def __init__(
        self,
        dim: int = 512,
        growth_rate: int = 32,
        bn_size: int = 4,
        init_channels: int = 128,
        num_mels: int = 80,
        window: Literal["hamming", "povey"] = "hamming",
        scale: float = 32768.0,
    ):
        super().__init__()
        require_bands(num_mels)
        self.dim = dim
        self.frontend = KaldiFbank(num_mels, window, scale)
        self.network = CAMPPlusNetwork(dim, growth_rate, bn_size, init_channels, num_mels)

    def embed_features(self, features: Tensor) -> Tensor:
        """Embeds Kaldi features (batch, frames, num_mels) as (batch, dim), not normalised."""
        return self.network(features)


class CAMPPlusNetwork(nn.Module):
    """The network alone, features (batch, frames, num_mels) to (batch, dim); arguments as for `CAMPPlus`."""

    def __init__(self, dim: int, growth_rate: int, bn_size: int, init_channels: int, num_mels: int):
        super().__init__()
        self.head = Head()
        entry = nn.Conv1d(HEAD_CHANNELS * num_mels // DOWNSAMPLING, init_channels, 5, stride=2, padding=2, bias=False)
        layers = OrderedDict(tdnn=named(linear=entry, nonlinear=norm_relu(init_channels)))
        channels = init_channels
        for i, (num_layers, dilation) in enumerate(BLOCKS, start=1):
            block = OrderedDict()
            for j in range(num_layers):
                block[f"tdnnd{j + 1}"] = MaskedLayer(channels, growth_rate, bn_size * growth_rate, dilation)
                channels += growth_rate
            layers[f"block{i}"] = nn.Sequential(block)
            halving = nn.Conv1d(channels, channels // 2, 1, bias=False)
            layers[f"transit{i}"] = named(nonlinear=norm_relu(channels), linear=halving)
            channels //= 2
        layers["out_nonlinear"] = norm_relu(channels)
        layers["stats"] = StatisticsPooling()
        layers["column"] = nn.Unflatten(1, (2 * channels, 1))  # the published last layer is a convolution
        output = nn.Conv1d(2 * channels, dim, 1, bias=False)
        layers["dense"] = named(linear=output, nonlinear=named(batchnorm=nn.BatchNorm1d(dim, affine=False)))
        self.xvector = nn.Sequential(layers)
        for module in self.modules():
            if isinstance(module, nn.Conv1d):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, features: Tensor) -> Tensor:
        """Embeds features (batch, frames, num_mels) of at least 3 frames as (batch, dim)."""
        require_frames(features, LEAST_FRAMES)
        return self.xvector(self.head(features.transpose(1, 2))).squeeze(-1)


class Head(nn.Module):
    """Two-dimensional residual front (section 2.2) that shortens bands but not frames."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, HEAD_CHANNELS, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(HEAD_CHANNELS)
        self.layer1 = stage(BasicBlock, HEAD_CHANNELS, HEAD_CHANNELS, HEAD_CHANNELS, num_blocks=2, stride=(2, 1))
        self.layer2 = stage(BasicBlock, HEAD_CHANNELS, HEAD_CHANNELS, HEAD_CHANNELS, num_blocks=2, stride=(2, 1))
        self.conv2 = nn.Conv2d(HEAD_CHANNELS, HEAD_CHANNELS, 3, stride=(2, 1), padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(HEAD_CHANNELS)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (batch, num_mels, frames) to (batch, 32 * num_mels / 8, frames)."""
        x = F.relu(self.bn1(self.conv1(x.unsqueeze(1))))
        x = F.relu(self.bn2(self.conv2(self.layer2(self.layer1(x)))))
        return x.flatten(1, 2)


class MaskedLayer(nn.Module):
    """A layer of a dense block: its input goes on, beside what it adds itself.

    Args:
        in_channels: Channels of the input.
        growth_rate: Channels that are added.
        bottleneck: Channels in between.
        dilation: Of the convolution over frames.
    """

    def __init__(self, in_channels: int, growth_rate: int, bottleneck: int, dilation: int):
        super().__init__()
        self.nonlinear1 = norm_relu(in_channels)
        self.linear1 = nn.Conv1d(in_channels, bottleneck, 1, bias=False)
        self.nonlinear2 = norm_relu(bottleneck)
        self.cam_layer = ContextMasking(bottleneck, growth_rate, dilation)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (batch, in_channels, frames) to (batch, in_channels + growth_rate, frames)."""
        return torch.cat([x, self.cam_layer(self.nonlinear2(self.linear1(self.nonlinear1(x))))], dim=1)


class ContextMasking(nn.Module):
    """A convolution times a mask that follows from the mean of the utterance and of each segment, eq. (2)-(5).

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        dilation: Of the convolution over frames.
    """

    def __init__(self, in_channels: int, out_channels: int, dilation: int):
        super().__init__()
        self.linear_local = nn.Conv1d(in_channels, out_channels, 3, padding=dilation, dilation=dilation, bias=False)
        self.linear1 = nn.Conv1d(in_channels, in_channels // 2, 1)
        self.linear2 = nn.Conv1d(in_channels // 2, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (batch, in_channels, frames) to (batch, out_channels, frames)."""
        segments = F.avg_pool1d(x, SEGMENT, SEGMENT, ceil_mode=True)  # (batch, in_channels, segments)
        context = x.mean(dim=-1, keepdim=True) + segments
        mask = torch.sigmoid(self.linear2(F.relu(self.linear1(context))))
        segment = torch.arange(x.shape[-1], device=x.device) // SEGMENT
        # Looked up and not repeated and cut: of a product with that, code that torch 2.11 generates for a CPU computes
        # the first 100 frames alone and leaves the rest of the memory as it found it.
        return self.linear_local(x) * mask[..., segment]


def norm_relu(channels: int) -> nn.Sequential:
    """Batch normalisation and ReLU under their published names."""
    return named(batchnorm=nn.BatchNorm1d(channels), relu=nn.ReLU())


def named(**modules: nn.Module) -> nn.Sequential:
    """A sequence whose members have names."""
    return nn.Sequential(OrderedDict(modules))
