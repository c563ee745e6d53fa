"""Universal perturbations: one short sound that, repeated over any utterance, changes who is recognized.

The iteration is stochastic projected gradient descent on a clipped loss (Shafahi et al. 2020, "Universal adversarial
training"); the short sound repeated cyclically is from Li et al. 2020 (arXiv 2004.03428).
"""

from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from voxcert.attacks.budgets import check_step_size
from voxcert.attacks.call_shape import Attack, attack, check_batch, gradient_through
from voxcert.attacks.objectives import Margin, Objective, check_kappa

Batches = Iterable[tuple[Tensor, Tensor]]
"""Waveforms (batch, time) and labels (batch,), to be gone through once per epoch."""
KEY = "perturbation"


@attack
def universal(
    recognizer: Callable[[Tensor], Tensor],
    waveform: Tensor,
    labels: Tensor,
    *,
    perturbation: Tensor,
    objective: Objective | None = None,
    targeted: bool = False,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Adds a perturbation made beforehand; nothing is computed from the recognizer.

    Args:
        recognizer: Not used.
        waveform: Shape (batch, time), in [-1, 1].
        labels: Not used.
        perturbation: One for all, shape (samples,), or one for each, shape (batch, samples); repeated to `time`.
        objective: Not used.
        targeted: Not used.
        generator: Not used.

    Returns:
        Shape (batch, time), clipped to [-1, 1].
    """
    fits = perturbation.ndim == 1 or (perturbation.ndim == 2 and len(perturbation) == len(waveform))
    if not fits or perturbation.numel() == 0:
        raise ValueError(
            f"perturbation must have shape (samples,) or ({len(waveform)}, samples), got {tuple(perturbation.shape)}"
        )
    return shift(waveform, perturbation.to(waveform))


def shift(waveform: Tensor, perturbation: Tensor) -> Tensor:
    """Adds a perturbation (samples,) or (batch, samples), repeated cyclically, to waveforms and clips to [-1, 1]."""
    repeats = -(-waveform.shape[-1] // perturbation.shape[-1])
    repeated = perturbation.repeat(*[1] * (perturbation.ndim - 1), repeats)
    return (waveform + repeated[..., : waveform.shape[-1]]).clamp(-1, 1)


@torch.enable_grad()
def fit_universal(
    recognizer: Callable[[Tensor], Tensor],
    batches: Batches,
    *,
    epsilon: float,
    num_samples: int = 3200,
    epochs: int = 10,
    step_size: float | None = None,
    kappa: float = 0.1,
    objective: Objective | None = None,
    targeted: bool = False,
) -> Tensor:
    """Finds a perturbation that works on all utterances of a loader.

    Args:
        recognizer: Waveform (batch, time) -> scores (batch, speakers).
        batches: Waveforms in [-1, 1] and labels; the same label everywhere makes a targeted perturbation.
        epsilon: l-infinity bound of the perturbation, waveform amplitude.
        num_samples: Length of the perturbation; 200 ms as published.
        epochs: Times that the batches are gone through.
        step_size: Change of a sample per batch; None is epsilon / 10.
        kappa: Margin, in scores, beyond which an utterance that is fooled counts no more.
        objective: What is attacked, through its margin; None is closed-set identification, `Margin()`.
        targeted: Whether labels are targets.

    Returns:
        The perturbation, shape (num_samples,), on the device of the batches.

    Raises:
        NoGradientError: If the scores do not depend differentiably on the waveform.
        ValueError: If a setting is out of range, or if there are no batches, or none left in a later epoch.
    """
    if not epsilon > 0 or num_samples < 1:
        raise ValueError(f"epsilon and num_samples must be positive, got {epsilon} and {num_samples}")
    check_step_size(step_size, epsilon)
    check_kappa(kappa)
    step_size, objective = epsilon / 10 if step_size is None else step_size, objective or Margin()
    perturbation = torch.zeros(num_samples)
    for waveform, labels in repeated(batches, epochs):
        check_batch(waveform, labels)
        perturbation = perturbation.to(waveform).requires_grad_()
        margin = objective.margin(recognizer(shift(waveform, perturbation)), labels, targeted)
        gradient = gradient_through("recognizer", margin.clamp(min=-kappa).sum(), perturbation)
        perturbation = (perturbation.detach() - step_size * gradient.sign()).clamp(-epsilon, epsilon)
    return perturbation


def repeated(batches: Batches, epochs: int) -> Iterable[tuple[Tensor, Tensor]]:
    """Yields all batches, `epochs` times; ValueError if there are none, as with an iterator used up."""
    if epochs < 1:
        raise ValueError(f"epochs must be at least 1, got {epochs}")
    for epoch in range(epochs):
        batch = None
        for batch in batches:
            yield batch
        if batch is None:
            raise ValueError(f"batches must hold at least one batch in every epoch, got none in epoch {epoch}")


def save_universal(path: str | Path, perturbation: Tensor) -> None:
    """Writes a perturbation (samples,) as a safetensors file."""
    save_file({KEY: perturbation.detach().cpu().contiguous()}, path)


def load_universal(path: str | Path) -> Attack:
    """Makes an attack of a perturbation that `save_universal` wrote, also by name in YAML.

    Raises:
        ValueError: If the file is not one of those; the message names it.
    """
    try:
        return universal(perturbation=load_file(path)[KEY])
    except (OSError, SafetensorError, KeyError) as error:
        raise ValueError(f"path must be a file of save_universal, got {path}: {error}") from error
