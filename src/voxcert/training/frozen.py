"""Modules that a training leaves as they are."""

from collections.abc import Sequence
from typing import Self

import lightning as L
from torch import nn


class FreezingModule(L.LightningModule):
    """A module with parts that do not learn.

    Attributes:
        frozen: Names of these parts; the modules behind them may be exchanged, as `sync_batchnorm` does.
    """

    frozen: list[str]

    def train(self, mode: bool = True) -> Self:
        """As of any module, but frozen ones stay in eval mode, so that their batch statistics stay too."""
        super().train(mode)
        for name in self.frozen:
            self.get_submodule(name).eval()
        return self


def freeze_modules(module: L.LightningModule, names: Sequence[str] | None) -> list[str]:
    """Lets the weights of the modules of these names learn no more, and returns the names.

    Args:
        module: It trains an `encoder`.
        names: Such as "encoder.network.blocks".

    Raises:
        ValueError: If there is none of a name.
    """
    frozen = list(names or [])
    for name in frozen:
        _submodule(module, name).requires_grad_(False)
    return frozen


def _submodule(module: L.LightningModule, name: str) -> nn.Module:
    try:
        return module.get_submodule(name)
    except AttributeError as error:
        last = [child for child, _ in module.encoder.named_children()][-1]
        raise ValueError(f"freeze must name modules such as encoder.{last}, got {name!r}") from error
