"""Noise in place of an attack: what a perturbation of the same size does that nobody chose."""

from collections.abc import Callable

import torch
from torch import Tensor

from voxcert.attacks.budgets import Norm, column, steepest
from voxcert.attacks.call_shape import attack
from voxcert.attacks.objectives import Objective


@attack
def random_noise(
    recognizer: Callable[[Tensor], Tensor] | None,
    waveform: Tensor,
    labels: Tensor,
    *,
    epsilon: float | Tensor,
    norm: Norm = "l2",
    objective: Objective | None = None,
    targeted: bool = False,
    generator: torch.Generator | None = None,
) -> Tensor:
    """One step of length epsilon in a random direction: a control for attacks of that norm (Korzh et al. 2024, Fig. 9).

    In the l2 norm it is white Gaussian noise, scaled to a norm of epsilon; in l-infinity every sample moves by epsilon,
    up or down; both are cut where they would leave [-1, 1].

    Args:
        recognizer: Not asked.
        waveform: Shape (batch, time), in [-1, 1].
        labels: Not used.
        epsilon: Norm of the noise, waveform amplitude; one number or one per utterance, shape (batch,).
        norm: "linf" or "l2".
        objective: Not used.
        targeted: Not used.
        generator: Of the noise, on the waveform's device; None is seeded 0 on every call.

    Returns:
        Noisy waveforms (batch, time), in the ball and in [-1, 1].

    Examples:
        >>> import torch
        >>> from voxcert.attacks import norms, random_noise
        >>> silence = torch.zeros(2, 16000)
        >>> noisy = random_noise(None, silence, torch.tensor([0, 1]), epsilon=2.0)
        >>> norms(noisy, "l2")
        tensor([2.0000, 2.0000])
    """
    direction = torch.randn(waveform.shape, generator=generator, device=waveform.device, dtype=waveform.dtype)
    return (waveform + column(epsilon, waveform) * steepest(direction, norm)).clamp(-1, 1)
