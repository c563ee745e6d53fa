"""SSED, the symmetric saliency-based encoder-decoder: a trained generator forges in one forward pass.

Yao et al. 2022, eq. (3): x' = x + epsilon * (n * m); `voxcert.training.generator_module` trains the generator.
"""

import functools
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from voxcert.attacks.budgets import column
from voxcert.attacks.call_shape import attack
from voxcert.attacks.generator.checkpoint import load_generator
from voxcert.attacks.generator.network import SaliencyGenerator
from voxcert.attacks.objectives import Objective

_loaded = functools.lru_cache(maxsize=4)(load_generator)  # an attack is called once for each batch


@attack
def ssed(
    recognizer: Callable[[Tensor], Tensor],
    waveform: Tensor,
    labels: Tensor,
    *,
    network: SaliencyGenerator | str | Path,
    epsilon: float | Tensor | None = None,
    objective: Objective | None = None,
    targeted: bool = False,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Adds what a generator makes of each waveform; the recognizer is not asked.

    Args:
        recognizer: Waveform (batch, time) -> scores (batch, speakers). Names in `recognizer.speakers` are held against
            the generator's target; a generator for any target reads `recognizer.prototypes`.
        waveform: Shape (batch, time), in [-1, 1].
        labels: Targets, shape (batch,), long.
        network: A generator in eval mode, or the folder of one (read once).
        epsilon: Bound on the amplitude of the perturbation, one number or one per utterance, shape (batch,); None is
            the one that the generator was trained with.
        objective: Not used; the generator was trained for one.
        targeted: Must be True.
        generator: Not used; the attack is deterministic.

    Returns:
        Adversarial waveforms (batch, time), within epsilon of the clean ones and in [-1, 1].

    Raises:
        ValueError: If the attack is not targeted, if labels are not the speaker that the generator was trained to
            forge, or if a generator for any target meets a recognizer without prototypes or with those of another size.
    """
    if not targeted:
        raise ValueError("targeted must be True: a generator forges the speaker it was trained for, got False")
    network = _network(network, waveform.device)
    noise, saliency = _forge(network, recognizer, waveform, labels)
    scale = column(network.epsilon if epsilon is None else epsilon, waveform)
    return (waveform + scale * noise * saliency).clamp(-1, 1)


def saliency(
    network: SaliencyGenerator | str | Path, recognizer: Callable[[Tensor], Tensor], waveform: Tensor, labels: Tensor
) -> Tensor:
    """Where a generator thinks that a perturbation matters: m of eq. (3), in [0, 1].

    Arguments and errors are those of `ssed`; waveform and saliency are (batch, time).
    """
    return _forge(_network(network, waveform.device), recognizer, waveform, labels)[1]


def _network(network: SaliencyGenerator | str | Path, device: torch.device) -> SaliencyGenerator:
    return network if isinstance(network, SaliencyGenerator) else _loaded(str(network)).to(device)


@torch.no_grad()
def _forge(
    network: SaliencyGenerator, recognizer: Callable[[Tensor], Tensor], waveform: Tensor, labels: Tensor
) -> tuple[Tensor, Tensor]:
    """Noise and saliency, both (batch, time)."""
    return network(waveform, _embeddings(network, recognizer, labels))


def _embeddings(network: SaliencyGenerator, recognizer: Callable[[Tensor], Tensor], labels: Tensor) -> Tensor | None:
    """What the generator is told of the targets (batch, dim); None, once labels are checked, if it has but one."""
    if network.target_dim is not None:
        prototypes = getattr(recognizer, "prototypes", None)
        if prototypes is None:
            raise ValueError("recognizer must have prototypes: the generator is told whom to forge by an embedding")
        if prototypes.shape[1] != network.target_dim:
            raise ValueError(
                f"recognizer must have embeddings of the size that the generator was trained with, "
                f"{network.target_dim}, got {prototypes.shape[1]}"
            )
        return prototypes[labels]
    speakers = getattr(recognizer, "speakers", None)
    if speakers is not None and network.target is not None:
        others = {speakers[label] for label in labels.tolist()} - {network.target}
        if others:
            raise ValueError(f"labels must be the generator's target {network.target!r}, got {sorted(others)}")
    return None
