"""The diffusion process between clean and noisy speech, as a scheduler of diffusers.

Chen et al. (TDAP), eq. (3) to (9), after CDiffuSE (Lu et al. 2022). Three things depart from the text of TDAP: eq. (9)
prints the posterior's variance with its fraction upside down, eq. (5) writes delta_t for it, and m_t, which passes 1 on
the paper's own schedule and makes variances negative there, is clipped at 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from diffusers import ConfigMixin, SchedulerMixin
from diffusers.configuration_utils import register_to_config
from diffusers.schedulers.scheduling_ddpm import DDPMSchedulerOutput
from torch import Tensor

Steps = Literal["full", "fast"]


class PurificationScheduler(SchedulerMixin, ConfigMixin):
    """q(x_t | x_0, y) = N(sqrt(abar_t) ((1 - m_t) x_0 + m_t y), delta_t I), and its reverse steps.

    m_t = min(1, sqrt((1 - abar_t) / sqrt(abar_t))), delta_t = 1 - abar_t - m_t^2 abar_t; without `conditional` m is 0
    and the process is DDPM. Steps are counted from 0 and may be fractions: sqrt(abar) is linear between two steps, and
    step -1 is the clean end, abar = 1. All coefficients are computed in float64.

    Args:
        num_train_timesteps: T.
        beta_start: First of the linear betas.
        beta_end: Last of them.
        fast_betas: Of fast sampling.
        conditional: Whether the mean goes over from clean to noisy speech.

    Raises:
        ValueError: If betas are not in (0, 1), or a variance would be negative.
    """

    order = 1

    @register_to_config
    def __init__(
        self,
        num_train_timesteps: int = 50,
        beta_start: float = 1e-4,
        beta_end: float = 0.05,
        fast_betas: Sequence[float] = (1e-4, 1e-3, 0.01, 0.05, 0.2, 0.5),
        conditional: bool = True,
    ):
        self.betas = torch.linspace(beta_start, beta_end, num_train_timesteps, dtype=torch.float64)
        self.fast_betas = torch.tensor(list(fast_betas), dtype=torch.float64)
        for name, betas in (("beta_start and beta_end", self.betas), ("fast_betas", self.fast_betas)):
            if not ((betas > 0) & (betas < 1)).all():
                raise ValueError(f"{name} must be in (0, 1), got {betas.tolist()}")
        self.alphas_cumprod = (1 - self.betas).cumprod(0)
        self.conditional = conditional
        self.set_timesteps("full")

    def set_timesteps(self, steps: Steps = "full") -> None:
        """Chooses the steps of sampling; `timesteps` then holds what the network is told, last step first.

        Args:
            steps: "full", all T; "fast", those of `fast_betas`, aligned with the training steps of the same abar.

        Raises:
            ValueError: If `steps` is neither, or a fast step lies beyond the last training step.
        """
        if steps not in ("full", "fast"):
            raise ValueError(f"steps must be 'full' or 'fast', got {steps!r}")
        alpha_bar = (1 - (self.betas if steps == "full" else self.fast_betas)).cumprod(0)
        self._reverse = reverse_coefficients(alpha_bar, self.interpolation(alpha_bar))
        ascending = self.position(alpha_bar) if steps == "fast" else torch.arange(len(alpha_bar)).double()
        self.timesteps = ascending.flip(0)
        self.num_inference_steps = len(alpha_bar)

    def alpha_bar(self, timesteps: Tensor) -> Tensor:
        """Abar at steps in [-1, T - 1], of any shape, in float64."""
        roots = torch.cat([torch.ones(1, dtype=torch.float64), self.alphas_cumprod.sqrt()]).to(timesteps.device)
        place = (timesteps.double() + 1).clamp(0, len(self.betas))
        low = place.floor().long().clamp(max=len(self.betas) - 1)
        return torch.lerp(roots[low], roots[low + 1], place - low).square()

    def position(self, alpha_bar: Tensor) -> Tensor:
        """The step in [-1, T - 1] at which abar has a given value; the inverse of `alpha_bar`.

        Raises:
            ValueError: If a value is not between abar of the last step and 1.
        """
        roots = torch.cat([torch.ones(1, dtype=torch.float64), self.alphas_cumprod.sqrt()]).to(alpha_bar.device)
        root = alpha_bar.double().sqrt()
        if root.min() < roots[-1] or root.max() > 1:
            allowed = f"[{float(roots[-1] ** 2):.4g}, 1]"
            raise ValueError(f"alpha_bar must be in {allowed}, the range of training, got {alpha_bar.tolist()}")
        low = torch.searchsorted(-roots, -root, right=True).clamp(1, len(self.betas)) - 1
        return low - 1 + (roots[low] - root) / (roots[low] - roots[low + 1])

    def interpolation(self, alpha_bar: Tensor) -> Tensor:
        """m, the share of the noisy speech in the mean."""
        if not self.conditional:
            return torch.zeros_like(alpha_bar)
        return ((1 - alpha_bar) / alpha_bar.sqrt()).sqrt().clamp(max=1)

    def add_noise(self, original: Tensor, noise: Tensor, timesteps: Tensor, noisy: Tensor | None = None) -> Tensor:
        """Draws x_t of eq. (3).

        Args:
            original: x_0, shape (batch, time).
            noise: Standard Gaussian, same shape.
            timesteps: Shape (batch,), fractions allowed.
            noisy: y, same shape as x_0; x_0 itself when None.

        Returns:
            x_t, shape (batch, time).
        """
        alpha_bar, m, delta = (value.to(original) for value in self.marginal(timesteps))
        mean = original if noisy is None else torch.lerp(original, noisy, m)
        return alpha_bar.sqrt() * mean + delta.sqrt() * noise

    def target(self, original: Tensor, noise: Tensor, timesteps: Tensor, noisy: Tensor | None = None) -> Tensor:
        """What the network is to predict of x_t, eq. (7): (x_t - sqrt(abar_t) x_0) / sqrt(1 - abar_t).

        Args and shapes are those of `add_noise`.
        """
        alpha_bar, m, delta = (value.to(original) for value in self.marginal(timesteps))
        difference = 0 if noisy is None else m * alpha_bar.sqrt() * (noisy - original)
        return (difference + delta.sqrt() * noise) / (1 - alpha_bar).sqrt()

    def step(
        self,
        model_output: Tensor,
        timestep: Tensor | float,
        sample: Tensor,
        noisy: Tensor | None = None,
        noise: Tensor | None = None,
    ) -> DDPMSchedulerOutput:
        """One reverse step, eq. (6), with noise of the posterior's variance.

        Args:
            model_output: Predicted noise, shape (batch, time).
            timestep: One of `timesteps`.
            sample: x_t, shape (batch, time).
            noisy: y, same shape; not needed unless `conditional`.
            noise: Standard Gaussian, same shape; None for the mean of the posterior.

        Returns:
            `prev_sample`, x_{t-1}, and `pred_original_sample`, the estimate of x_0 at this step.

        Raises:
            ValueError: If `timestep` is not one of `timesteps`, or y is missing.
        """
        found = (self.timesteps == float(timestep)).nonzero()
        if not len(found):
            raise ValueError(f"timestep must be one of {self.timesteps.tolist()}, got {float(timestep)}")
        c = self._reverse[len(self.timesteps) - 1 - int(found[0])]
        mean = c.sample * sample - c.noise * model_output
        if c.noisy and noisy is None:
            raise ValueError("noisy must be given to a conditional process, got None")
        if c.noisy:
            mean = mean + c.noisy * noisy
        previous = mean if noise is None or c.variance == 0 else mean + c.variance**0.5 * noise
        original = (sample - (1 - c.alpha_bar) ** 0.5 * model_output) / c.alpha_bar**0.5
        return DDPMSchedulerOutput(prev_sample=previous, pred_original_sample=original)

    def marginal(self, timesteps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The abar, m and delta of steps (batch,), as columns (batch, 1) in float64."""
        alpha_bar = self.alpha_bar(timesteps)[:, None]
        m = self.interpolation(alpha_bar)
        return alpha_bar, m, (1 - alpha_bar - m**2 * alpha_bar).clamp(min=0)  # 0 at the clean end, but for rounding


@dataclass(frozen=True)
class Reverse:
    """x_{t-1} = sample * x_t + noisy * y - noise * e + sqrt(variance) * Gaussian, from a step with `alpha_bar`."""

    alpha_bar: float
    sample: float
    noisy: float
    noise: float
    variance: float


def reverse_coefficients(alpha_bar: Tensor, interpolation: Tensor) -> list[Reverse]:
    """The posterior q(x_{t-1} | x_t, x_0, y) of every step, with x_0 expressed by the predicted noise.

    Args:
        alpha_bar: Of every step, the first step first, shape (steps,), float64.
        interpolation: m, same shape, in [0, 1] and not falling.

    Returns:
        One per step, the first step first.

    Raises:
        ValueError: If a variance is negative, so that there is no such process.
    """
    one, zero = torch.ones(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    before, m, m_before = torch.cat([one, alpha_bar[:-1]]), interpolation, torch.cat([zero, interpolation[:-1]])
    alpha = alpha_bar / before
    delta, delta_before = 1 - alpha_bar - m**2 * alpha_bar, 1 - before - m_before**2 * before
    ratio = torch.where(m_before == 1, 1.0, (1 - m) / (1 - m_before))  # the mean is y on both sides from there on
    step_variance = delta - ratio**2 * alpha * delta_before  # eq. (8)
    variance = step_variance * delta_before / delta  # eq. (9), turned over
    if not (min(delta.min(), step_variance.min(), variance.min()) >= 0):
        raise ValueError(f"betas must leave every variance at least 0, got {variance.tolist()}")
    past, kept = delta_before / delta, (1 - m_before) * step_variance / delta
    of_sample = ratio * past * alpha.sqrt() + kept / alpha.sqrt()
    of_noisy = (m_before - m * ratio * alpha * past) * before.sqrt()
    of_noise = kept * (1 - alpha_bar).sqrt() / alpha.sqrt()
    rows = torch.stack([alpha_bar, of_sample, of_noisy, of_noise, variance], dim=1)
    return [Reverse(*row) for row in rows.tolist()]
