"""The identification network under inversion, and the posteriors that it releases: as they are, or defended.

Rounding is the countermeasure of Fredrikson et al. 2015 (sec. 5), noise that of Salem et al. 2020 (1904.01067);
smoothing releases the mean posterior under Gaussian noise (Cohen et al. 2019), attacked through its expectation.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from voxcert.attacks.adaptive import ExpectationOverNoise, StraightThrough
from voxcert.encoders.sincnet import SincNet
from voxcert.evaluation.inversion.settings import InversionSettings
from voxcert.evaluation.run.job import seed_of

NOBODY = -1
"""Class that is named where several posteriors are the largest."""


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
        self._rounded = StraightThrough(self._round_up_from_zero)

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.network.parameters()).device

    def reseed(self, *key: str) -> None:
        """Begins the defence's and the attacker's noise anew, from the settings' seed and a key."""
        self._noise.manual_seed(seed_of(self.settings.seed, *key))

    def descended(self, points: Tensor, d_vectors: bool = False) -> Tensor:
        """Log-posteriors (batch, classes) of chunks or d-vectors, as the attacker has them."""
        model = self.network.classify if d_vectors else self.network.log_posteriors
        if self.settings.access == "weights":
            return model(points)
        smooth = self._smooth(model, self.settings.num_noise, None if d_vectors else self._seed())
        log_posteriors = self._blur(smooth(points))
        if self.settings.round_digits is None:
            return log_posteriors
        return self._rounded(log_posteriors.exp()).log()  # rounding's gradient is taken to be 1

    @torch.no_grad()
    def released(self, points: Tensor, d_vectors: bool = False) -> Tensor:
        """Posteriors (batch, classes) of chunks or d-vectors, as the system gives them out."""
        model = self.network.classify if d_vectors else self.network.log_posteriors
        smooth = self._smooth(model, self.settings.num_eval, None if d_vectors else self.settings.seed)
        posteriors = self._blur(smooth(points)).exp()
        digits = self.settings.round_digits
        return posteriors if digits is None else posteriors.round(decimals=digits)

    def named(self, posteriors: Tensor) -> Tensor:
        """Whom the system names by posteriors (..., chunks, classes) that it released: the largest mean over chunks.

        Returns:
            Classes (...,); `NOBODY` where several have the largest, as rounded posteriors often do: whoever came first
            would be named by a network that says nothing.
        """
        if self.settings.round_digits is not None:
            posteriors = (10.0**self.settings.round_digits * posteriors.double()).round()  # whole: their sums are exact
        means = posteriors.mean(dim=-2)
        largest = means == means.amax(dim=-1, keepdim=True)
        return means.argmax(dim=-1).where(largest.sum(dim=-1) == 1, NOBODY)

    def _smooth(
        self, model: Callable[[Tensor], Tensor], num_noise: int, seed: int | None
    ) -> Callable[[Tensor], Tensor]:
        """The model, under noise where there is some; d-vectors come from chunks that had it already (no seed)."""
        if self.settings.sigma is None or seed is None:
            return model
        return ExpectationOverNoise(model, self.settings.sigma, num_noise, scale=1, batch_size=256, seed=seed)

    def _seed(self) -> int:
        return int(torch.randint(2**31, (), generator=self._noise))

    def _blur(self, log_posteriors: Tensor) -> Tensor:
        """Logarithms of the posteriors under the noise of the settings."""
        if self.settings.posterior_noise == 0:
            return log_posteriors
        noise = torch.rand(log_posteriors.shape, generator=self._noise).to(log_posteriors)
        noisy = log_posteriors.exp() + self.settings.posterior_noise * noise
        return (noisy / noisy.sum(dim=-1, keepdim=True)).log()

    def _round_up_from_zero(self, posteriors: Tensor) -> Tensor:
        """Rounded posteriors, with half of the last digit for 0, which has no logarithm."""
        digits = self.settings.round_digits
        return posteriors.round(decimals=digits).clamp_min(0.5 * 10**-digits)
