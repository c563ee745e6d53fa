"""Checks at the door of the certifier: every error names the argument, what is allowed and what was given.

Section 4 of the guarantee needs these conditions (Cohen et al. 2019, Theorem 1, for a deterministic base classifier).
"""

import math
from collections.abc import Callable, Collection, Sequence
from numbers import Real
from typing import Any

import torch

from voxcert.smoothing.embedder import NORM_TOLERANCE
from voxcert.smoothing.forecast import FEWEST_THRESHOLDS
from voxcert.smoothing.rules import RULES


def require(name: str, value: Any, allowed: str, holds: bool) -> None:
    """Raises ValueError naming the argument, what is allowed and what was given, unless the condition holds."""
    if not holds:
        raise ValueError(f"{name} must be {allowed}, got {value!r}")


def check_settings(settings: Any) -> None:
    """Checks the scalar attributes of a `Certifier`."""
    for name in ("num_select", "num_estimate", "num_looks"):
        require(name, getattr(settings, name), "an integer of at least 1", _is_count(getattr(settings, name)))
    grid = settings.num_thresholds
    require(
        "num_thresholds",
        grid,
        f"an integer of at least {FEWEST_THRESHOLDS}",
        _is_integer(grid) and grid >= FEWEST_THRESHOLDS,
    )
    seed = settings.seed
    require("seed", seed, "an integer in [-2^63, 2^64)", _is_integer(seed) and -(2**63) <= seed < 2**64)
    sigma, alpha, tolerance = settings.sigma, settings.alpha, settings.tolerance
    require("sigma", sigma, "finite and above 0", is_number(sigma) and 0.0 < sigma < math.inf)
    require("alpha", alpha, "in (0, 1)", is_number(alpha) and 0.0 < alpha < 1.0)
    require("tolerance", tolerance, "at least 0", is_number(tolerance) and tolerance >= 0.0)
    target = settings.target_radius
    require("target_radius", target, "None or above 0", target is None or (is_number(target) and target > 0.0))
    size = settings.batch_size
    require("batch_size", size, '"auto" or an integer of at least 1', size == "auto" or _is_count(size))
    most = settings.num_estimate.bit_length()
    require(
        "num_looks",
        settings.num_looks,
        f"at most 1 + log2(num_estimate) = {most}",
        settings.num_looks <= most,
    )
    rules = settings.rules
    known = isinstance(rules, Collection) and all(rule in list(RULES) for rule in rules)  # a list is in no dict
    known = known and 0 < len(rules) == len(set(rules))
    require("rules", rules, f"different names out of {sorted(RULES)}", known)


def check_prototypes(prototypes: torch.Tensor) -> None:
    """Checks that prototypes are at least two finite unit vectors, shape (K, dim)."""
    _require_tensor("prototypes", prototypes, "(K, dim)")
    shape = tuple(prototypes.shape)
    require("prototypes", shape, "of shape (K, dim) with K >= 2", len(shape) == 2 and shape[0] >= 2)
    deviation = float((torch.linalg.vector_norm(prototypes.double(), dim=1) - 1.0).abs().max())
    allowed = f"finite unit vectors (norm within {NORM_TOLERANCE} of 1)"
    require("prototypes", f"a norm that is off by {deviation:.3g}", allowed, deviation <= NORM_TOLERANCE)


def speaker_names(speakers: Sequence[str] | None, num_classes: int) -> tuple[str, ...]:
    """The names of the classes, by default their numbers.

    Raises:
        ValueError: if there is not one different, non-empty name for each class.
    """
    if speakers is None:
        return tuple(str(k) for k in range(num_classes))
    require("speakers", f"{len(speakers)} names", f"{num_classes} names", len(speakers) == num_classes)
    repeated = (
        sorted({name for name in speakers if list(speakers).count(name) > 1})
        if len(set(speakers)) < num_classes
        else []
    )
    require("speakers", repeated, "different names", not repeated)
    require("speakers", "", "non-empty names", "" not in speakers)
    return tuple(speakers)


def check_encoder(encoder: Callable[[torch.Tensor], torch.Tensor]) -> None:
    """Refuses modules in training mode: dropout and batch statistics would make f random."""
    if isinstance(encoder, torch.nn.Module):
        training = [name or "encoder" for name, module in encoder.named_modules() if module.training]
        require("encoder", f"{training[:3]} in training mode", "in evaluation mode (call .eval())", not training)


def check_waveform(waveform: torch.Tensor) -> None:
    """Checks that a waveform is a finite, non-empty vector."""
    _require_tensor("waveform", waveform, "(time,)")
    shape = tuple(waveform.shape)
    require("waveform", shape, "of shape (time,) with time >= 1", len(shape) == 1 and shape[0] >= 1)
    require("waveform", "NaN or infinity in it", "finite", bool(torch.isfinite(waveform).all()))


def _require_tensor(name: str, value: Any, shape: str) -> None:
    kind = value.dtype if isinstance(value, torch.Tensor) else type(value)
    floating = isinstance(value, torch.Tensor) and value.is_floating_point()
    require(name, kind, f"a tensor {shape} of floating-point numbers (of audio: in [-1, 1])", floating)


def is_number(value: Any) -> bool:
    """Whether this can be compared with numbers, and is not true or false."""
    return isinstance(value, Real) and not isinstance(value, bool)


def is_whole(value: Any) -> bool:
    """Whether this is a whole number of at least 0, and not true or false."""
    return _is_integer(value) and value >= 0


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_count(value: Any) -> bool:
    return _is_integer(value) and value >= 1
