"""Modules that a training leaves as they are."""

from collections.abc import Sequence
from typing import Self

import lightning as L
from torch import nn


class FreezingModule(L.LightningModule):
    """A module with parts that do not learn.

    Attributes:
        frozen: These parts, as `frozen_modules` gives them.
    """

    frozen: list[nn.Module]

    def train(self, mode: bool = True) -> Self:
        """As of any module, but frozen ones stay in eval mode, so that their batch statistics stay too."""
        super().train(mode)
        for module in self.frozen:
            module.eval()
        return self


def frozen_modules(module: L.LightningModule, names: Sequence[str] | None) -> list[nn.Module]:
    """The modules of these names, with weights that do not learn.

    Args:
        module: It trains an `encoder`.
        names: Such as "encoder.network.blocks".

    Raises:
        ValueError: If there is none of a name.
    """
    return [_submodule(module, name).requires_grad_(False) for name in names or []]


def _submodule(module: L.LightningModule, name: str) -> nn.Module:
    try:
        return module.get_submodule(name)
    except AttributeError as error:
        last = [child for child, _ in module.encoder.named_children()][-1]
        raise ValueError(f"freeze must name modules such as encoder.{last}, got {name!r}") from error
