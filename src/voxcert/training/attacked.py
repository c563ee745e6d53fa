"""What an attack must be for a training to make it on its own examples, how it is made there, and against whom."""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import lightning as L
import torch
from torch import Tensor, nn

from voxcert.attacks import Attack, CrossEntropy, Margin
from voxcert.encoders.base import Recognizer, enroll
from voxcert.encoders.loading import load_encoder


def check_training_attack(attack: Attack | None) -> None:
    """Refuses attacks that cannot be made on a batch as it is heard in a training step.

    Args:
        attack: To be called with the step's own objective; None passes.

    Raises:
        ValueError: If it brings an objective or is targeted, or if it asks about some rows at a time, several times
            over: the views of a step, and their noise, belong to its rows in their order.
    """
    if attack is None:
        return
    brought = getattr(attack, "keywords", {})
    if brought.get("objective") is not None or brought.get("targeted"):
        raise ValueError(f"attack must be untargeted and leave its objective to the training, got {brought}")
    if "max_queries" in inspect.signature(attack).parameters:
        name = getattr(attack, "func", attack).__name__
        raise ValueError(f"attack must ask about a whole batch at once, as those by gradients do, got {name}")


@dataclass(frozen=True, eq=False, kw_only=True)
class Divergence(Margin):
    """Attacks log-probabilities through KL(clean prediction || prediction) (Zhang et al. 2019, eq. 5).

    Args:
        clean: Logarithms of the clean prediction, shape (batch, classes).
    """

    clean: Tensor

    def loss(self, scores: Tensor, labels: Tensor, targeted: bool) -> Tensor:
        """The negative divergence of log-probabilities (batch, classes), whatever the labels; shape (batch,)."""
        return -(self.clean.exp() * (self.clean - scores)).sum(dim=-1)


def perturbation_of(
    attack: Attack,
    encoder: nn.Module,
    log_probability: Callable[[Tensor], Tensor],
    waveform: Tensor,
    label: Tensor,
    views: Tensor,
    *,
    diverging: bool = False,
) -> Tensor:
    """Attacks waveforms as they are heard in their views, with noise that torch's global generator seeds.

    Args:
        attack: One that `check_training_attack` passes.
        encoder: In eval mode meanwhile: running statistics are used and not changed.
        log_probability: Views (views, batch, time) -> logarithms of their mean prediction, (batch, classes).
        waveform: Shape (batch, time).
        label: Classes, shape (batch,).
        views: What is heard of `waveform`, shape (views, batch, time).
        diverging: Whether the attack leads away from the clean prediction (`Divergence`), not from the label.

    Returns:
        What the attack adds, shape (batch, time).
    """
    waveform = waveform.clamp(-1, 1)  # where attacks live; a change of speed may overshoot

    def recognizer(moved: Tensor) -> Tensor:
        return log_probability(views + (moved - waveform))

    generator = torch.Generator(waveform.device).manual_seed(int(torch.randint(2**31, ())))
    with evaluating(encoder):
        objective = CrossEntropy(scale=1)
        if diverging:
            objective = Divergence(clean=log_probability(waveform[None]).detach())
        return attack(recognizer, waveform, label, objective=objective, generator=generator) - waveform


def enroll_victim(module: L.LightningModule, stage: Literal["val", "test"]) -> Recognizer:
    """The recognizer that a module's `victim` names, with frozen weights and the speakers of a stage enrolled."""
    with torch.inference_mode(False):  # or no gradient would pass what validation enrols
        encoder = load_encoder(module.hparams.victim).to(module.device).requires_grad_(False)
        return enroll(encoder, module.trainer.datamodule.enrollment_dataloader(stage), device=module.device)


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Puts a module into eval mode, and afterwards every part of it back into the mode that it had."""
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for part, training in modes.items():
            part.training = training
