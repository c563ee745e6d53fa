"""How large a perturbation may be: norms, balls and their projections, and the units that papers state budgets in.

Norms run over the samples of one utterance (Korzh et al. 2024, section 2); a budget is one number or one per utterance.
"""

import math
from typing import Literal

import torch
from torch import Tensor

Norm = Literal["linf", "l2"]
INT16 = 32768
"""Quantisation steps of 16-bit audio per unit of amplitude."""


def norms(perturbation: Tensor, norm: Norm) -> Tensor:
    """Norm of each row of a perturbation (batch, time); shape (batch,)."""
    return torch.linalg.vector_norm(perturbation, ord=_order(norm), dim=-1)


def project(waveform: Tensor, center: Tensor, epsilon: float | Tensor, norm: Norm) -> Tensor:
    """Clips waveforms to [-1, 1], then moves them into the ball around `center`.

    In this order the budget is spent in full; moving towards a centre in [-1, 1] does not leave [-1, 1] again. The
    result is in the ball to the rounding of float32, about 6e-8 per sample.

    Args:
        waveform: Shape (batch, time).
        center: The clean waveforms, shape (batch, time), in [-1, 1].
        epsilon: Radius, waveform amplitude; a number or shape (batch,).
        norm: "linf" bounds each sample, "l2" the root of the sum of squares over all samples.

    Returns:
        Shape (batch, time); the nearest point of the ball to the clipped waveform.
    """
    delta, epsilon = waveform.clamp(-1, 1) - center, column(epsilon, center)
    if _order(norm) == math.inf:
        delta = delta.clamp(-epsilon, epsilon)
    else:
        delta = delta * (epsilon / norms(delta, "l2")[:, None].clamp(min=torch.finfo(delta.dtype).tiny)).clamp(max=1)
    return (center + delta).clamp(-1, 1)  # once more, against rounding


def check_step_size(step_size: float | Tensor | None, epsilon: float | Tensor) -> None:
    """ValueError if no step would be made, or a step up; None is a default of the attack's own.

    Args:
        step_size: Waveform amplitude; a number or shape (batch,).
        epsilon: Radius of the ball, likewise; where it is 0 there is nowhere to step.
    """
    if step_size is None:
        return
    step, radius = torch.as_tensor(step_size), torch.as_tensor(epsilon)
    if not bool(((step > 0) | ((step == 0) & (radius == 0))).all()):
        raise ValueError(f"step_size must be positive or None, got {step.min():g}")


def steepest(gradient: Tensor, norm: Norm) -> Tensor:
    """The direction of unit norm in which a linear function of gradient (batch, time) rises most; 0 where it is 0."""
    if _order(norm) == math.inf:
        return gradient.sign()
    tiny = torch.finfo(gradient.dtype).tiny
    scaled = gradient / gradient.abs().amax(dim=-1, keepdim=True).clamp(min=tiny)  # squares of 1e-23 would underflow
    return scaled / norms(scaled, "l2")[:, None].clamp(min=tiny)


def uniform(center: Tensor, epsilon: float | Tensor, norm: Norm, generator: torch.Generator) -> Tensor:
    """Draws one point uniformly from each ball around `center` (batch, time), then clips it to [-1, 1]."""
    if _order(norm) == math.inf:
        delta = 2 * torch.rand(center.shape, generator=generator, device=center.device, dtype=center.dtype) - 1
    else:
        direction = torch.randn(center.shape, generator=generator, device=center.device, dtype=center.dtype)
        share = torch.rand(len(center), 1, generator=generator, device=center.device, dtype=center.dtype)
        delta = steepest(direction, "l2") * share ** (1 / center.shape[-1])
    return (center + column(epsilon, center) * delta).clamp(-1, 1)


def epsilon_at_snr(waveform: Tensor, snr_db: float | Tensor) -> Tensor:
    """The l2 budget (batch,) that lets the perturbation of each waveform (batch, time) reach a signal-to-noise ratio.

    SNR = 10 log10(P_x / P_delta), over the whole utterance (Yao et al. 2022, section IV-A).
    """
    return norms(waveform, "l2") * 10 ** (-snr_db / 20)


def snr_at_epsilon(waveform: Tensor, epsilon: float | Tensor) -> Tensor:
    """SNR in dB, shape (batch,), of a perturbation with l2 norm `epsilon`; the inverse of `epsilon_at_snr`.

    `snr_at_epsilon(clean, norms(adversarial - clean, "l2"))` measures an attack; it is inf where nothing was changed.
    """
    return 20 * torch.log10(norms(waveform, "l2") / epsilon)


def from_int16(value: float) -> float:
    """Converts an amplitude or norm in 16-bit units, as in the TDAP paper (30 and 6400), to units of waveforms."""
    return value / INT16


def column(epsilon: float | Tensor, waveform: Tensor) -> Tensor:
    """A budget as (batch, 1) or (1, 1) on the waveform's device; ValueError if it is negative or of another shape."""
    budget = torch.as_tensor(epsilon, device=waveform.device, dtype=waveform.dtype)
    if budget.ndim > 1 or budget.numel() not in (1, len(waveform)):
        raise ValueError(f"epsilon must be a number or have shape ({len(waveform)},), got {tuple(budget.shape)}")
    if not bool((budget >= 0).all()):
        raise ValueError(f"epsilon must be at least 0, got {epsilon}")
    return budget.reshape(-1, 1)


def _order(norm: Norm) -> float:
    orders = {"linf": math.inf, "l2": 2.0}
    if norm not in orders:
        raise ValueError(f"norm must be one of {', '.join(orders)}, got {norm!r}")
    return orders[norm]
