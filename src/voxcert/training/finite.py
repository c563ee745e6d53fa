"""Numbers that a training is set by: where one makes no sense, it would learn nothing or unlearn, and not say so."""

import math


def check_positive(name: str, value: float) -> None:
    """Raises ValueError unless a number is above 0 and finite."""
    if not 0 < value < math.inf:
        raise ValueError(f"{name} must be positive and finite, got {value}")


def check_at_least_0(name: str, value: float) -> None:
    """Raises ValueError unless a number is at least 0 and finite."""
    if not 0 <= value < math.inf:
        raise ValueError(f"{name} must be at least 0 and finite, got {value}")
