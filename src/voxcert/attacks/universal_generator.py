"""A network that generates universal perturbations from noise, after Li et al. 2020 (arXiv 2004.03428, section 3).

One training gives a whole family of perturbations, in place of the one that `fit_universal` finds.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from voxcert.attacks.call_shape import check_batch, gradient_through
from voxcert.attacks.objectives import Margin, Objective, check_kappa
from voxcert.attacks.universal import Batches, repeated, shift

BASE_SAMPLES = 25
"""Length before upsampling; every block doubles it."""


class PerturbationGenerator(nn.Module):
    """Noise (batch, noise_dim) -> perturbations (batch, num_samples); zero before training.

    Args:
        num_blocks: Blocks of upsampling by 2; 7 make 3200 samples.
        noise_dim: Size of the noise.
        channels: Channels of every block.
        amplitude: Factor of the output. The published network has none, and learns slowly: a step of Adam then changes
            the output by more than the amplitudes looked for.

    Attributes:
        num_samples: Length of a perturbation, 25 * 2 ** num_blocks.
    """

    def __init__(self, num_blocks: int = 7, noise_dim: int = 100, channels: int = 64, amplitude: float = 0.01):
        super().__init__()
        self.noise_dim, self.num_samples, self.amplitude = noise_dim, BASE_SAMPLES * 2**num_blocks, amplitude
        self.expand = nn.Sequential(
            nn.Linear(noise_dim, channels * BASE_SAMPLES), nn.Unflatten(1, (channels, BASE_SAMPLES))
        )
        self.blocks = nn.Sequential(*(_block(channels) for _ in range(num_blocks)))
        self.output = nn.Conv1d(channels, 1, 3, padding=1, bias=False)
        nn.init.zeros_(self.output.weight)

    def forward(self, noise: Tensor) -> Tensor:
        """Maps noise (batch, noise_dim) to perturbations (batch, num_samples), of any amplitude."""
        return self.amplitude * self.output(self.blocks(self.expand(noise))).squeeze(1)

    @torch.no_grad()
    def draw(self, num: int, epsilon: float, *, generator: torch.Generator | None = None) -> Tensor:
        """Draws perturbations (num, num_samples) clipped to [-epsilon, epsilon], for `universal`.

        Args:
            num: How many.
            epsilon: l-infinity bound, waveform amplitude.
            generator: On the network's device; None is seeded 0.
        """
        return self(self.noise(num, generator)).clamp(-epsilon, epsilon)

    def noise(self, num: int, generator: torch.Generator | None = None) -> Tensor:
        """Standard normal noise (num, noise_dim) on the network's device."""
        device = self.output.weight.device
        generator = generator or torch.Generator(device).manual_seed(0)
        return torch.randn(num, self.noise_dim, generator=generator, device=device)


def _block(channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Upsample(scale_factor=2, mode="linear", align_corners=True),
        nn.Conv1d(channels, channels, 3, padding=2, dilation=2, bias=False),
        nn.BatchNorm1d(channels),
        nn.ReLU(),
    )


@torch.enable_grad()
def fit_generator(
    network: PerturbationGenerator,
    recognizer: Callable[[Tensor], Tensor],
    batches: Batches,
    *,
    epochs: int = 50,
    lr: float = 1e-3,
    kappa: float = 0.1,
    loudness: float = 1000.0,
    threshold: float = 0.01,
    objective: Objective | None = None,
    targeted: bool = False,
    seed: int = 0,
) -> None:
    """Trains a generator on a recognizer; the network is changed in place and left in eval mode.

    The loss is the mean of max(margin + kappa, 0) plus `loudness` times the loudness of the perturbation. The published
    margin term, 0.1 (margin + 10), is for the unbounded scores of a softmax layer; kappa here is for cosines.

    Args:
        network: On the device of the batches.
        recognizer: Waveform (batch, time) -> scores (batch, speakers); its parameters get no gradient.
        batches: Waveforms in [-1, 1] and labels; each utterance gets noise of its own. At least 2 in a batch.
        epochs: Times that the batches are gone through.
        lr: Learning rate of Adam.
        kappa: Margin, in scores, by which utterances are to be fooled.
        loudness: Weight of the loudness; 1000 to 2000 as published.
        threshold: Amplitude that is cheap, see `thresholded_loudness`.
        objective: What is attacked, through its margin; None is closed-set identification, `Margin()`.
        targeted: Whether labels are targets.
        seed: Of the noise.

    Raises:
        NoGradientError: If the scores do not depend differentiably on the waveform.
        ValueError: If kappa is negative, or if there are no batches, or none left in a later epoch.
    """
    check_kappa(kappa)
    objective, parameters = objective or Margin(), list(network.parameters())
    adam = torch.optim.Adam(parameters, lr=lr)
    generator = torch.Generator(network.output.weight.device).manual_seed(seed)
    network.train()
    for waveform, labels in repeated(batches, epochs):
        check_batch(waveform, labels)
        perturbation = network(network.noise(len(waveform), generator))
        shifted = shift(waveform, perturbation)
        margin = objective.margin(recognizer(shifted), labels, targeted)
        push = gradient_through("recognizer", (margin + kappa).clamp(min=0).mean(), perturbation)
        loud = loudness * thresholded_loudness(perturbation, threshold)
        adam.zero_grad()
        torch.autograd.backward([perturbation, loud], [push, None], inputs=parameters)
        adam.step()
    network.eval()


def thresholded_loudness(perturbation: Tensor, threshold: float) -> Tensor:
    """Mean square of the samples of at least `threshold`, plus a hundredth of the mean square of those below it."""
    square = perturbation.square()
    loud = square >= threshold**2
    means = [square[part].sum() / part.sum().clamp(min=1) for part in (loud, ~loud)]
    return means[0] + 0.01 * means[1]
