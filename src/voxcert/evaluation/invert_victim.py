"""The identification network under inversion, and the posteriors that it releases: as they are, or defended.

Rounding is the countermeasure of Fredrikson et al. 2015 (sec. 5), noise that of Salem et al. 2020 (1904.01067);
smoothing releases the mean posterior under Gaussian noise (Cohen et al. 2019), attacked through its expectation.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from voxcert.attacks.adaptive import ExpectationOverNoise, StraightThrough
from voxcert.encoders.sincnet import SincNet
from voxcert.evaluation.invert_settings import InversionSettings

LEAST = 1e-30
"""Stands for a released posterior of zero, whose logarithm has to be finite."""


class InvertedSystem(nn.Module):
    """What an attacker descends, and what judges the result.

    Args:
        network: SincNet's identification network, in eval mode.
        settings: The defence, and whether the attacker descends what is released or the network itself.
    """

    def __init__(self, network: SincNet, settings: InversionSettings):
        super().__init__()
        self.network, self.settings = network.requires_grad_(False), settings
        self._noise = torch.Generator().manual_seed(settings.seed)
        self._rounded = StraightThrough(self._round)

    def descended(self, points: Tensor, d_vectors: bool = False) -> Tensor:
        """Log-posteriors (batch, classes) of chunks or d-vectors, as the attacker has them."""
        model = self.network.classify if d_vectors else self.network.log_posteriors
        if self.settings.access == "weights":
            return model(points)
        return self._release(self._smooth(model, self.settings.num_noise, None if d_vectors else self._seed())(points))

    @torch.no_grad()
    def released(self, points: Tensor, d_vectors: bool = False) -> Tensor:
        """Posteriors (batch, classes) of chunks or d-vectors, as the system gives them out."""
        model = self.network.classify if d_vectors else self.network.log_posteriors
        smooth = self._smooth(model, self.settings.num_eval, None if d_vectors else self.settings.seed)
        return self._release(smooth(points)).exp()

    def _smooth(
        self, model: Callable[[Tensor], Tensor], num_noise: int, seed: int | None
    ) -> Callable[[Tensor], Tensor]:
        """The model, under noise where there is some; d-vectors come from chunks that had it already (no seed)."""
        if self.settings.sigma is None or seed is None:
            return model
        return ExpectationOverNoise(model, self.settings.sigma, num_noise, scale=1, batch_size=256, seed=seed)

    def _seed(self) -> int:
        return int(torch.randint(2**31, (), generator=self._noise))

    def _release(self, log_posteriors: Tensor) -> Tensor:
        """Logarithms of the defended posteriors, with the gradient of rounding's input."""
        if self.settings.posterior_noise > 0:
            noise = torch.rand(log_posteriors.shape, generator=self._noise).to(log_posteriors)
            noisy = log_posteriors.exp() + self.settings.posterior_noise * noise
            log_posteriors = (noisy / noisy.sum(dim=-1, keepdim=True)).log()
        return log_posteriors if self.settings.round_digits is None else self._rounded(log_posteriors)

    def _round(self, log_posteriors: Tensor) -> Tensor:
        return log_posteriors.exp().round(decimals=self.settings.round_digits).clamp_min(LEAST).log()
