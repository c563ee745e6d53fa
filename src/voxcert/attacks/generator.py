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
from voxcert.attacks.generator_checkpoint import load_generator
from voxcert.attacks.generator_network import SaliencyGenerator
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
            forge, or if a generator for any target meets a recognizer without prototypes.
    """
    if not targeted:
        raise ValueError("targeted must be True: a generator forges the speaker it was trained for, got False")
    if not isinstance(network, SaliencyGenerator):
        network = _loaded(str(network)).to(waveform.device)
    target = _embeddings(network, recognizer, labels)
    with torch.no_grad():
        noise, saliency = network(waveform, target)
    scale = column(network.epsilon if epsilon is None else epsilon, waveform)
    return (waveform + scale * noise * saliency).clamp(-1, 1)


def _embeddings(network: SaliencyGenerator, recognizer: Callable[[Tensor], Tensor], labels: Tensor) -> Tensor | None:
    """What the generator is told of the targets (batch, dim); None, once labels are checked, if it has but one."""
    if network.target_dim is not None:
        prototypes = getattr(recognizer, "prototypes", None)
        if prototypes is None:
            raise ValueError("recognizer must have prototypes: the generator is told whom to forge by an embedding")
        return prototypes[labels]
    speakers = getattr(recognizer, "speakers", None)
    if speakers is not None and network.target is not None:
        others = {speakers[label] for label in labels.tolist()} - {network.target}
        if others:
            raise ValueError(f"labels must be the generator's target {network.target!r}, got {sorted(others)}")
    return None
