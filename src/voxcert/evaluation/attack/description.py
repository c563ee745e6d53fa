"""An attack as plain values: its import path and its settings, for rows and for the comparison of runs.

Attacks are functions whose settings are bound (see `voxcert.attacks`), so both can be read off their signature.
"""

import hashlib
import inspect
import math
from collections.abc import Callable
from dataclasses import asdict, is_dataclass
from typing import Any

from torch import Tensor

from voxcert import attacks
from voxcert.attacks import Attack
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


def attack_settings(attack: Attack) -> dict[str, Any]:
    """All settings that an attack has a value for, defaults too, as values that JSON and YAML can hold."""
    parameters = inspect.signature(attack).parameters.values()
    return {
        one.name: _plain(one.default)
        for one in parameters
        if one.kind is one.KEYWORD_ONLY and one.default is not one.empty and one.name not in OF_THE_RUN
    }


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
        ValueError: As `check_values`, or if its epsilon is not positive, it cannot be given a radius though there are
            some, or it decides by itself whether it is targeted.
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
    if "targeted" in own and own["targeted"].default is True and not settings.targeted:
        raise ValueError("attack.targeted must be left to the option targeted, got true there and false here")


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return {"class": type(value).__name__, **{name: _plain(item) for name, item in asdict(value).items()}}
    if isinstance(value, Tensor):
        return "sha256:" + hashlib.sha256(value.detach().cpu().contiguous().numpy().tobytes()).hexdigest()[:16]
    return value if value is None or isinstance(value, bool | int | float | str) else repr(value)
