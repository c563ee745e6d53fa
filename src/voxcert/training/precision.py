"""The numbers that networks here are trained with."""

import lightning as L

PRECISIONS = "32-true", "16-mixed", "bf16-mixed"
"""Audio and what is made of it outside of a network are float32: a network of another type would not take them."""


def check_precision(trainer: L.Trainer) -> None:
    """Refuses other precisions.

    Raises:
        ValueError: If weights would not be float32.
    """
    if trainer.precision not in PRECISIONS:
        raise ValueError(f"trainer.precision must be one of {', '.join(PRECISIONS)}, got {trainer.precision}")
