"""Finds out before a run whether an encoder is one function of a row, whatever else is in the batch.

Randomized smoothing (Cohen et al. 2019, Theorem 1) is about one deterministic function f. An encoder that looks at
its neighbours in the batch, by batch statistics in evaluation mode for example, is not one, and its certificates
would be false.
"""

from collections.abc import Callable

import torch

PROBE_TOLERANCE = 1e-4
"""Largest distance of two unit embeddings of one row: above float32 rounding, far below what moves a decision."""


@torch.inference_mode()
def check_rows_are_independent(encoder: Callable[[torch.Tensor], torch.Tensor], batch: torch.Tensor) -> bool:
    """Compares the first row's embedding in this batch, once more, among copies of itself and in another place.

    Args:
        encoder: callable from waveforms (batch, time) to embeddings (batch, dim).
        batch: (batch, time) noisy copies, of the shape that all forwards will have; with one row, nothing can leak.

    Returns:
        Whether that could be found out: nothing can where the embedding is not finite, as a certificate will say.

    Raises:
        ValueError: if the embedding moves by more than `PROBE_TOLERANCE`; names the likely cause.
    """
    reference = encoder(batch)[0].double().clone()
    if not torch.isfinite(reference).all():
        return False
    alone = batch[:1].expand_as(batch).contiguous()
    strangers = torch.cat([batch[:1], torch.zeros_like(batch[1:])])
    ways = {"the same batch again": (batch, 0)}
    if len(batch) > 1:
        ways["copies of itself"] = (alone, 0)
        ways["silent rows"] = (strangers, 0)
        ways["the last place of the batch"] = (batch.roll(-1, dims=0), -1)
    for way, (rows, place) in ways.items():
        moved = float(torch.linalg.vector_norm(encoder(rows)[place].double() - reference))
        if not moved <= PROBE_TOLERANCE:
            raise ValueError(
                f"encoder must give a row the same embedding in any batch (within {PROBE_TOLERANCE}), got one that is "
                f"off by {moved:.3g} with {way}; {_likely_cause(encoder)}"
            )
    return True


def _likely_cause(encoder: Callable[[torch.Tensor], torch.Tensor]) -> str:
    """Modules that use batch statistics in evaluation mode, by name."""
    modules = encoder.named_modules() if isinstance(encoder, torch.nn.Module) else ()
    names = [
        name or "encoder"
        for name, module in modules
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm) and module.running_mean is None
    ]
    if names:
        return f"{names[:3]} normalise by statistics of the batch (track_running_stats=False)"
    return "something in it draws random numbers or mixes the rows of a batch"
