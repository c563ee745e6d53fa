"""Purification by diffusion: reverse sampling from an attacked waveform (DAP, TDAP), and denoising in one shot.

Chen et al. (TDAP), eq. (4) to (6); Bai et al. (DAP), the same without condition; Carlini et al. 2023 (arXiv 2206.10550)
for one-shot denoising, which goes before an encoder that is certified by randomized smoothing.
"""

import copy

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from voxcert.purifiers.base import Purifier
from voxcert.purifiers.networks import NoisePredictor
from voxcert.purifiers.schedule import PurificationScheduler, Steps


class DiffusionPurifier(Purifier):
    """Starts at x_t = sqrt(abar_t) y + sqrt(delta_t) noise and samples backwards to the clean end.

    TDAP has a network with a conditioner and a conditional scheduler. DAP has neither: m is 0, so that y is diffused by
    DDPM and comes back. Text is an embedding of what is heard in the attacked speech: in earnest no other is known.

    Args:
        network: Predicts the noise.
        scheduler: The process; copied, so that others may be made of it with other steps.
        steps: "fast" or "full", see `PurificationScheduler`.
        start: Reverse steps to take, the last so many of them; all when None, as in TDAP. Fewer keep more of y, and
            more of the attack.
        data_std: Typical amplitude of speech (root mean square). If given, the network's input and output are scaled
            as by Karras et al. 2022 (table 1), so that at every step it sees and predicts unit variance; None is
            the plain network of the paper.
        checkpointing: Compute activations again in the backward pass, so that an attack can differentiate through all
            steps in the memory of one.
        seed: Of the noise, see `Purifier`.

    Raises:
        ValueError: If `start` is not between 1 and the number of steps, or `data_std` is not positive.
    """

    def __init__(
        self,
        network: NoisePredictor,
        scheduler: PurificationScheduler,
        steps: Steps = "fast",
        start: int | None = None,
        data_std: float | None = None,
        checkpointing: bool = False,
        seed: int | None = 0,
    ):
        super().__init__()
        scheduler = copy.deepcopy(scheduler)
        scheduler.set_timesteps(steps)
        count = len(scheduler.timesteps)
        if start is not None and not 1 <= start <= count:
            raise ValueError(f"start must be between 1 and the {count} {steps} steps, got {start}")
        if data_std is not None and not data_std > 0:
            raise ValueError(f"data_std must be positive, got {data_std}")
        self.network, self.scheduler = network, scheduler
        self.start, self.data_std, self.checkpointing, self.seed = start, data_std, checkpointing, seed

    def purify(self, waveform: Tensor, text: Tensor | None) -> Tensor:
        """Samples from p(x_0 | y); the result is clamped to [-1, 1]."""
        timesteps = self.scheduler.timesteps[-self.start if self.start else 0 :]
        condition = self.network.condition(waveform, text)
        first, *noises = self.noise(waveform, len(timesteps) + 1)
        sample = self.scheduler.add_noise(waveform, first, timesteps[:1].to(waveform.device))
        for timestep, noise in zip(timesteps.tolist(), noises, strict=True):
            predicted = self._predict(sample, timestep, condition)
            sample = self.scheduler.step(predicted, timestep, sample, waveform, noise).prev_sample
        return sample.clamp(-1, 1)

    def predict_noise(self, sample: Tensor, timesteps: Tensor, condition: Tensor | None = None) -> Tensor:
        """Predicts the noise in x_t.

        Args:
            sample: x_t, shape (batch, time).
            timesteps: Shape (batch,), fractions allowed.
            condition: From `network.condition`.

        Returns:
            Shape (batch, time), what `PurificationScheduler.target` says.
        """
        if self.data_std is None:
            return self.network(sample, timesteps, condition).to(sample)
        alpha_bar, _, delta = self.scheduler.marginal(timesteps)
        total = delta + alpha_bar * self.data_std**2  # variance of x_t
        out = self.network((1 / total.sqrt()).to(sample) * sample, timesteps, condition).to(sample)
        skipped = (delta / (total * (1 - alpha_bar).sqrt())).to(sample) * sample
        return skipped - self.output_scale(timesteps).to(sample) * out

    def output_scale(self, timesteps: Tensor) -> Tensor:
        """What the network's output counts in the predicted noise, shape (batch, 1): 1 without `data_std`."""
        alpha_bar, _, delta = self.scheduler.marginal(timesteps)
        if self.data_std is None:
            return torch.ones_like(alpha_bar)
        variance = alpha_bar * self.data_std**2
        return (variance * delta / ((delta + variance) * (1 - alpha_bar))).sqrt()

    def _predict(self, sample: Tensor, timestep: float, condition: Tensor | None) -> Tensor:
        timesteps = torch.full((len(sample),), timestep, device=sample.device, dtype=torch.float64)
        if self.checkpointing and torch.is_grad_enabled():
            return checkpoint(self.predict_noise, sample, timesteps, condition, use_reentrant=False)
        return self.predict_noise(sample, timesteps, condition)


class OneShotDenoiser(Purifier):
    """x_0 as the network sees it at the step whose noise is sigma: abar_t = 1 / (1 + sigma^2), t by interpolation.

    The waveform is taken to hold Gaussian noise of standard deviation sigma already, as under randomized smoothing;
    none is drawn here, so this is one deterministic function and composes with any encoder into another that can be
    certified.

    Args:
        purifier: Its network and process are used, one step of them.
        sigma: Standard deviation of the noise, waveform amplitude.

    Raises:
        ValueError: If sigma is not positive, or larger than the noise of the process's last step, or if the process is
            conditional: it never adds noise alone.
    """

    def __init__(self, purifier: DiffusionPurifier, sigma: float):
        super().__init__()
        if purifier.scheduler.conditional:
            raise ValueError("purifier must have a scheduler with conditional false, got one with conditional true")
        alpha_bar = 1 / (1 + sigma**2)
        largest = float(1 / purifier.scheduler.alphas_cumprod[-1] - 1) ** 0.5
        if not 0 < sigma <= largest:
            raise ValueError(f"sigma must be in (0, {largest:.4g}], the noise the network knows, got {sigma}")
        self.purifier, self.sigma = purifier, sigma
        self.timestep = float(purifier.scheduler.position(torch.tensor([alpha_bar], dtype=torch.float64)))

    def purify(self, waveform: Tensor, text: Tensor | None) -> Tensor:
        """Estimates x_0, clamped to [-1, 1]."""
        timesteps = torch.full((len(waveform),), self.timestep, device=waveform.device, dtype=torch.float64)
        sample = waveform / (1 + self.sigma**2) ** 0.5
        noise = self.purifier.predict_noise(sample, timesteps, self.purifier.network.condition(waveform, text))
        return (waveform - self.sigma * noise).clamp(-1, 1)
