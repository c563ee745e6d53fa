"""The one collective that metrics keyed by utterance need: the union of every process's dictionary."""

from typing import TypeVar

import torch.distributed as dist

T = TypeVar("T")


def gather_dict(values: dict[str, T]) -> dict[str, T]:
    """Returns the union of `values` over all processes; keys that several processes hold count once."""
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return values
    parts: list[dict[str, T]] = [{} for _ in range(dist.get_world_size())]
    dist.all_gather_object(parts, values)
    return {key: value for part in parts for key, value in part.items()}
