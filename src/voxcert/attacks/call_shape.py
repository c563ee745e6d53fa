"""The call shape of all attacks: `attack(recognizer, waveform, labels, *, targeted=False, ...) -> waveform`.

Called with its settings alone, an attack returns itself with these bound (`functools.partial`), which is what a YAML
file with `class_path` and `init_args` does.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from voxcert.attacks.objectives import Margin, Objective

Attack = Callable[[nn.Module, Tensor, Tensor], Tensor]
"""(recognizer, waveform, labels) -> adversarial waveform; the type to give a parameter that takes any attack."""


class NoGradientError(ValueError):
    """A recognizer whose scores do not depend differentiably on the waveform, or another such network."""


def attack(function: Callable[..., Tensor]) -> Callable[..., Any]:
    """Makes a function an attack: it can be configured first and called later, and it leaves no trace.

    The function gets copies of its tensors, enabled gradients (also inside `no_grad` and `inference_mode`), an
    objective (closed-set `Margin` if none is given) and a generator on the waveform's device (seeded 0 if none is
    given); all its settings are keyword-only.

    Args:
        function: `(recognizer, waveform, labels, *, objective, targeted, generator, ...) -> waveform`.

    Returns:
        The attack. What `inspect.signature` shows of it are the settings: for configuration files, in which
        recognizer, waveforms and generators have no place.
    """

    @functools.wraps(function)
    def run(*args: Any, **settings: Any) -> Any:
        if not args:
            return functools.partial(run, **settings)
        return _run(function, *args, **settings)

    settings = inspect.signature(function).parameters.values()
    shown = [setting for setting in settings if setting.kind is setting.KEYWORD_ONLY and setting.name != "generator"]
    run.__signature__ = inspect.signature(function).replace(parameters=shown)
    return run


def _run(
    function: Callable[..., Tensor],
    recognizer: Callable[[Tensor], Tensor],
    waveform: Tensor,
    labels: Tensor,
    *,
    objective: Objective | None = None,
    generator: torch.Generator | None = None,
    **settings: Any,
) -> Tensor:
    check_batch(waveform, labels)
    with torch.inference_mode(False), torch.enable_grad():
        waveform, labels = waveform.detach().clone(), labels.clone()  # an inference tensor has no place in a graph
        generator = generator or torch.Generator(waveform.device).manual_seed(0)
        adversarial = function(
            recognizer, waveform, labels, objective=objective or Margin(), generator=generator, **settings
        )
    return adversarial.detach()


def loss_gradient(
    recognizer: Callable[[Tensor], Tensor], waveform: Tensor, labels: Tensor, objective: Objective, targeted: bool
) -> tuple[Tensor, Tensor]:
    """Differentiates the objective's loss with respect to waveforms; parameters get no gradient.

    Returns:
        Gradient (batch, time) and scores (batch, speakers).

    Raises:
        NoGradientError: If the scores do not depend differentiably on the waveform.
    """
    waveform = waveform.detach().requires_grad_()
    scores = recognizer(waveform)
    gradient = gradient_through("recognizer", objective.loss(scores, labels, targeted).sum(), waveform)
    return gradient, scores.detach()


def gradient_through(name: str, value: Tensor, point: Tensor) -> Tensor:
    """Differentiates what was computed from a network's output alone with respect to the network's input.

    A loss has terms beside it, such as the loudness of a perturbation, that have a gradient where the network has none:
    those are differentiated apart, or an attack would find nothing and not say so.

    Args:
        name: Of the argument that the network is, for the error.
        value: A number.
        point: The network's input, or what it was made of.

    Returns:
        Gradient, of the shape of `point`; parameters get none.

    Raises:
        NoGradientError: If the value does not depend differentiably on the point.
    """
    gradient = None
    if value.requires_grad:  # parameters alone can make it so
        (gradient,) = torch.autograd.grad(value, point, allow_unused=True)
    if gradient is None:
        raise NoGradientError(
            f"{name} must be differentiable with respect to its input, got an output without a gradient; "
            "a step that has none can be wrapped in voxcert.attacks.StraightThrough"
        )
    return gradient


def check_batch(waveform: Tensor, labels: Tensor) -> None:
    """Raises ValueError unless waveform is (batch, time) in [-1, 1] and labels are (batch,) long, on one device."""
    for name, value, wanted in (
        ("waveform", waveform, "shape (batch, time) and floating point samples"),
        ("labels", labels, "shape (batch,) and dtype torch.int64, such as torch.tensor([3])"),
    ):
        if not isinstance(value, Tensor):
            raise ValueError(f"{name} must be a tensor of {wanted}, got {type(value).__name__} {_short(value)}")
    if waveform.ndim != 2 or not waveform.is_floating_point():
        raise ValueError(
            f"waveform must have shape (batch, time) and floating point samples, got {tuple(waveform.shape)} "
            f"of {waveform.dtype}"
        )
    if labels.shape != waveform.shape[:1] or labels.dtype != torch.long or labels.device != waveform.device:
        raise ValueError(
            f"labels must have shape ({len(waveform)},), dtype torch.int64 and be on {waveform.device}, "
            f"got {tuple(labels.shape)}, {labels.dtype} on {labels.device}"
        )
    if not waveform.numel():
        raise ValueError(f"waveform must have at least one row and one sample, got shape {tuple(waveform.shape)}")
    peak = float(waveform.abs().max())
    if not peak <= 1:
        raise ValueError(f"waveform must lie in [-1, 1], got a peak of {peak:g}")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}..."
