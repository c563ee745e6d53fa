"""What an attack must be for a training to make it on its own examples, and how the network meets it."""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from voxcert.attacks import Attack


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
