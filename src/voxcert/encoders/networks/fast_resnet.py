"""The squeeze-and-excitation ResNets that voxceleb_trainer publishes: names, order and strides are its own.

ResNetSE34L pools by self-attention (Cai et al. 2018, arXiv 1804.05160), ResNetSE34V2 by attentive statistics (Okabe et
al. 2018, arXiv 1803.10963, eq. 5 and 6); the blocks are those of Hu et al. 2018, arXiv 1709.01507.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

REDUCTION = 8  # of the squeeze-and-excitation bottlenecks


class SqueezeExcitation(nn.Module):
    """Scales every channel by a number in (0, 1) that the means of all channels decide."""

    def __init__(self, channels: int):
        super().__init__()
        bottleneck = channels // REDUCTION
        self.fc = nn.Sequential(
            nn.Linear(channels, bottleneck), nn.ReLU(), nn.Linear(bottleneck, channels), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        """Scales (batch, channels, height, width)."""
        return x * self.fc(x.mean(dim=(2, 3)))[:, :, None, None]


class Block(nn.Module):
    """A residual block; its first convolution is followed by ReLU and then by the normalisation, as published."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.se = SqueezeExcitation(outputs)
        self.downsample = nn.Sequential()
        if inputs != outputs:
            self.downsample.append(nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False))
            self.downsample.append(nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Maps (batch, inputs, height, width) to (batch, outputs, height / stride, width / stride)."""
        y = self.bn1(F.relu(self.conv1(x)))
        return F.relu(self.se(self.bn2(self.conv2(y))) + self.downsample(x))


class SEResNet34(nn.Module):
    """The part that both networks share: a first convolution and four layers of 3, 4, 6 and 3 blocks.

    Args:
        conv1: The first convolution; every layer after the first has twice the channels of the one before.
        last_stride: Stride of the last layer.
    """

    def __init__(self, conv1: nn.Conv2d, last_stride: int):
        super().__init__()
        channels = conv1.out_channels
        self.conv1, self.bn1 = conv1, nn.BatchNorm2d(channels)
        self.layer1 = _layer(channels, channels, 3, stride=1)
        self.layer2 = _layer(channels, 2 * channels, 4, stride=2)
        self.layer3 = _layer(2 * channels, 4 * channels, 6, stride=2)
        self.layer4 = _layer(4 * channels, 8 * channels, 3, stride=last_stride)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def layers(self, x: Tensor) -> Tensor:
        """Runs the four layers on (batch, channels, mels, frames)."""
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))


class ResNetSE34L(SEResNet34):
    """Fast ResNet-34: frequency is halved at once and averaged out at the end, frames are pooled by self-attention.

    Args:
        channels: Width of the first layer.
        dim: Size of the embedding.
    """

    def __init__(self, channels: int, dim: int):
        super().__init__(nn.Conv2d(1, channels, 7, stride=(2, 1), padding=3, bias=False), last_stride=1)
        width = 8 * channels
        self.sap_linear = nn.Linear(width, width)
        self.attention = nn.Parameter(nn.init.xavier_normal_(torch.empty(width, 1)))
        self.fc = nn.Linear(width, dim)

    def forward(self, features: Tensor) -> Tensor:
        """Maps features (batch, frames, mels) to embeddings (batch, dim)."""
        x = features.transpose(1, 2).unsqueeze(1)  # (batch, 1, mels, frames)
        x = self.layers(F.relu(self.bn1(self.conv1(x))))
        x = x.mean(dim=2).transpose(1, 2)  # (batch, frames, width)
        weights = F.softmax(torch.tanh(self.sap_linear(x)) @ self.attention, dim=1)
        return self.fc((weights * x).sum(dim=1))


class ResNetSE34V2(SEResNet34):
    """The wider network: frequency is kept, each of its bands is pooled to a weighted mean and deviation.

    Args:
        channels: Width of the first layer.
        num_mels: Mel bands, a multiple of 8.
        dim: Size of the embedding.
    """

    def __init__(self, channels: int, num_mels: int, dim: int):
        super().__init__(nn.Conv2d(1, channels, 3, padding=1), last_stride=2)
        width = 8 * channels * (num_mels // 8)
        self.attention = nn.Sequential(
            nn.Conv1d(width, 128, 1), nn.ReLU(), nn.BatchNorm1d(128), nn.Conv1d(128, width, 1), nn.Softmax(dim=2)
        )
        self.fc = nn.Linear(2 * width, dim)

    def forward(self, features: Tensor) -> Tensor:
        """Maps features (batch, frames, mels) to embeddings (batch, dim)."""
        x = features.transpose(1, 2).unsqueeze(1)  # (batch, 1, mels, frames)
        x = self.layers(self.bn1(F.relu(self.conv1(x)))).flatten(1, 2)  # (batch, width, frames)
        weights = self.attention(x)
        x = x.to(weights.dtype)  # the variance is a difference of near numbers: not in bf16
        mean = (weights * x).sum(dim=2)
        variance = (weights * x.square()).sum(dim=2) - mean.square()
        return self.fc(torch.cat([mean, variance.clamp(min=1e-5).sqrt()], dim=1))


def _layer(inputs: int, outputs: int, blocks: int, stride: int) -> nn.Sequential:
    return nn.Sequential(Block(inputs, outputs, stride), *(Block(outputs, outputs) for _ in range(blocks - 1)))
