"""An attack as plain values: its import path and its settings, for rows and for the comparison of runs.

Attacks are functions whose settings are bound (see `voxcert.attacks`), so both can be read off their signature.
"""

import hashlib
import inspect
import math
import os
from collections.abc import Callable
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from voxcert import attacks
from voxcert.attacks import Attack
from voxcert.encoders.checkpoint import WEIGHTS, checkpoint_hash
from voxcert.evaluation.attack.settings import AttackSettings

OF_THE_RUN = ("targeted", "generator")
"""Settings of an attack that the run decides."""


def attack_names() -> list[str]:
    """Names of the attacks of `voxcert.attacks` that can be configured by text: all but those that need a tensor."""
    found = []
    for name in attacks.__all__:
        parameters = inspect.signature(getattr(attacks, name)).parameters if name.islower() else {}
        plain = all(one.kind is one.KEYWORD_ONLY and one.annotation is not Tensor for one in parameters.values())
        found += [name] if plain and "targeted" in parameters else []
    return found


def attack_path(attack: Attack) -> str:
    """Import path of the function, or of the class, that attacks."""
    function = getattr(attack, "func", attack)
    function = function if hasattr(function, "__qualname__") else type(function)
    return f"{function.__module__}.{function.__qualname__}"


def describe_attack(attack: Attack) -> dict[str, Any]:
    """An attack as YAML has it: its path and all its settings."""
    return {"class_path": attack_path(attack), "init_args": attack_settings(attack)}


def attack_settings(attack: Attack) -> dict[str, Any]:
    """All settings that an attack has a value for, defaults too, as values that JSON and YAML can hold."""
    return {name: _plain(value) for name, value in _bound(attack).items()}


def attack_hash(*chosen: Attack) -> str | None:
    """Identifies the sounds and networks that attacks hold, also by the name of a folder; None where they hold none."""
    held = [f"{name} {_held(value)}" for attack in chosen for name, value in _bound(attack).items() if _held(value)]
    return hashlib.sha256("\n".join(held).encode()).hexdigest()[:16] if held else None


def check_hash(expected: str | None, *chosen: Attack) -> str | None:
    """The hash of attacks; ValueError if another one is expected."""
    if expected not in (None, digest := attack_hash(*chosen)):
        raise ValueError(f"attack_hash must be {digest}, that of the sounds and networks given, got {expected}")
    return digest


def check_values(attack: Callable[..., Tensor], name: str, *given_by_the_run: str) -> None:
    """Refuses settings of an attack that a run cannot begin with.

    Args:
        attack: The attack.
        name: What errors call it.
        given_by_the_run: Settings that it need not have, beside target, objective and generator.

    Raises:
        ValueError: If one has no value, or a number is not finite.
    """
    for own, one in inspect.signature(attack).parameters.items():
        if one.kind is one.KEYWORD_ONLY and one.default is one.empty:
            if own not in (*OF_THE_RUN, "objective", *given_by_the_run):
                raise ValueError(f"{name}.{own} must be given for {attack_path(attack)}, got no value")
    for own, value in attack_settings(attack).items():
        numbers = (
            {f"{own}.{part}": number for part, number in value.items()} if isinstance(value, dict) else {own: value}
        )
        for place, number in numbers.items():
            if isinstance(number, float) and not math.isfinite(number):
                raise ValueError(f"{name}.{place} must be finite, got {number}")


def check_attack(attack: Callable[..., Tensor], settings: AttackSettings) -> None:
    """Refuses an attack whose own settings cannot be right.

    Raises:
        ValueError: As `check_values`, or if its epsilon is not positive or its steps do not lead so far, it cannot be
            given a radius though there are some, or it decides by itself what the run decides: whether it is targeted,
            or the threshold.
    """
    by_radius = ("epsilon", "norm") if settings.radii or settings.within else ()
    check_values(attack, "attack", *by_radius)
    own = inspect.signature(attack).parameters
    epsilon = own["epsilon"].default if "epsilon" in own else None
    if isinstance(epsilon, int | float) and not epsilon > 0:
        raise ValueError(f"attack.epsilon must be above 0, got {epsilon}")
    if not set(by_radius) <= own.keys():
        raise ValueError(
            f"radii and within must be null for an attack without epsilon and norm, got {settings.radii} and "
            f"{settings.within} for {attack_path(attack)} (its curve follows from the norms that it needed)"
        )
    check_reach(attack, max(settings.radii) if settings.radii else epsilon)
    if "targeted" in own and own["targeted"].default is True and not settings.targeted:
        raise ValueError("attack.targeted must be left to the option targeted, got true there and false here")
    threshold = getattr(own["objective"].default, "threshold", None) if "objective" in own else None
    if threshold is not None and threshold != settings.threshold:
        raise ValueError(
            f"attack.objective.threshold must be left to the option threshold, got {threshold} there and "
            f"{settings.threshold} here (null is none in csi, and else where the equal error rate is)"
        )


def check_reach(attack: Callable[..., Tensor], budget: Any) -> None:
    """Refuses a fixed step size with which all steps together do not lead to a budget: the attack would look weak.

    Args:
        attack: The attack; one without steps or a step size passes, and so does a step size that follows the budget.
        budget: The largest one; what is no number passes.

    Raises:
        ValueError: If steps * step_size is less than the budget.
    """
    own = inspect.signature(attack).parameters
    steps, step_size = (own[name].default if name in own else None for name in ("steps", "step_size"))
    if not all(isinstance(value, int | float) for value in (steps, step_size, budget)):
        return
    if steps * step_size < budget and not math.isclose(steps * step_size, budget):
        raise ValueError(
            f"attack.steps * attack.step_size must be at least the largest budget (radii, within or attack.epsilon), "
            f"{budget:g}, got {steps} * {step_size:g} = {steps * step_size:g} (a step_size of null follows the budget)"
        )


def _bound(attack: Attack) -> dict[str, Any]:
    parameters = inspect.signature(attack).parameters.values()
    return {
        one.name: one.default
        for one in parameters
        if one.kind is one.KEYWORD_ONLY and one.default is not one.empty and one.name not in OF_THE_RUN
    }


def _held(value: Any) -> str | None:
    """A hash of what a value holds: a sound's samples, the config and weights of a network or of a folder."""
    if isinstance(value, str | Path):
        return checkpoint_hash(value) if os.path.isfile(Path(value) / WEIGHTS) else None
    if not isinstance(value, Tensor | nn.Module):
        return None
    is_network = isinstance(value, nn.Module)
    digest = hashlib.sha256(str(getattr(value, "config", value)).encode() if is_network else b"")
    for tensor in value.state_dict().values() if is_network else [value]:
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return {"class": type(value).__name__, **{name: _plain(item) for name, item in asdict(value).items()}}
    if isinstance(value, Tensor | nn.Module):
        return f"sha256:{_held(value)}"
    return value if value is None or isinstance(value, bool | int | float | str) else repr(value)
