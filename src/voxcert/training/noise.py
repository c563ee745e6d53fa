"""How much Gaussian noise a training example gets: distributions of sigma, one draw per example.

Training under the noise of the certificate is Cohen et al. 2019 (section 3.3); spreading sigma over a range gives one
encoder that serves several certification sigmas.
"""

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor

from voxcert.training.finite import check_positive


class NoiseDistribution(ABC):
    """A distribution of sigma over examples; waveform amplitude."""

    @abstractmethod
    def sample(self, num: int, device: torch.device) -> Tensor:
        """Draws `num` values of sigma, shape (num,), from torch's global generator."""

    def add_noise(self, waveform: Tensor) -> Tensor:
        """Adds white noise to waveforms (batch, time), each with its own sigma."""
        sigma = self.sample(len(waveform), waveform.device)
        return waveform + sigma[:, None] * torch.randn_like(waveform)


class Fixed(NoiseDistribution):
    """The same sigma for every example.

    Args:
        sigma: Standard deviation, waveform amplitude.
    """

    def __init__(self, sigma: float):
        check_positive("sigma", sigma)
        self.sigma = sigma

    def sample(self, num: int, device: torch.device) -> Tensor:
        """Returns `sigma`, `num` times."""
        return torch.full((num,), self.sigma, device=device)


class Uniform(NoiseDistribution):
    """Sigma uniform between two values.

    Args:
        low: Smallest sigma, at least 0.
        high: Largest sigma, above `low` and finite.
    """

    def __init__(self, low: float, high: float):
        if not 0 <= low < high < math.inf:
            raise ValueError(f"low and high must satisfy 0 <= low < high < inf, got low={low}, high={high}")
        self.low, self.high = low, high

    def sample(self, num: int, device: torch.device) -> Tensor:
        """Draws `num` values of sigma."""
        return self.low + (self.high - self.low) * torch.rand(num, device=device)


class LogUniform(NoiseDistribution):
    """Sigma whose logarithm is uniform: as much training at small noise as at large.

    Args:
        low: Smallest sigma, above 0.
        high: Largest sigma, above `low` and finite.
    """

    def __init__(self, low: float, high: float):
        if not 0 < low < high < math.inf:
            raise ValueError(f"low and high must satisfy 0 < low < high < inf, got low={low}, high={high}")
        self.low, self.high = low, high

    def sample(self, num: int, device: torch.device) -> Tensor:
        """Draws `num` values of sigma."""
        return self.low * torch.exp(math.log(self.high / self.low) * torch.rand(num, device=device))
