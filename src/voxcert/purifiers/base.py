"""The contract that every purifier keeps: speech in, the same speech without what an attacker added.

A defended system is `nn.Sequential(purifier, encoder)`; a purifier knows neither the encoder nor the attack.
"""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from voxcert.encoders.base import Configured, check_tensor

TEXT_DIM = 768
"""Size of a text embedding, that of DeBERTaV3 (base)."""


class Purifier(Configured, nn.Module, ABC):
    """Purifies waveforms: (batch, time) in [-1, 1] at 16 kHz -> the same shape.

    Subclasses write `purify`. They promise that a batch row equals the single call on that row, that any length is
    taken, and that gradients reach the waveform (or `differentiable` is False).

    Attributes:
        differentiable: Whether gradients through `purify` say how its output changes. Where they do not, an adaptive
            attack needs `voxcert.attacks.StraightThrough`.
    """

    differentiable: bool = True
    _seed: int | None = 0

    @property
    def seed(self) -> int | None:
        """Of the noise of a purifier that draws any, see `noise`; may be changed at any time, and `config` with it.

        A number fixes the noise: the purifier is one function of the waveform, and every call and every row see the
        same noise. None draws fresh noise for every row of every call from torch's global generator (for expectation
        over transformation).
        """
        return self._seed

    @seed.setter
    def seed(self, seed: int | None) -> None:
        self._seed = seed
        if "seed" in self.config["init_args"]:
            self.config["init_args"]["seed"] = seed

    @abstractmethod
    def purify(self, waveform: Tensor, text: Tensor | None) -> Tensor:
        """Purifies waveforms (batch, time); `text` is (batch, 768) or None, and may be ignored."""

    def forward(self, waveform: Tensor, text: Tensor | None = None) -> Tensor:
        """Purifies waveforms.

        Args:
            waveform: Shape (batch, time), amplitude in [-1, 1] (a little outside where noise was added), 16 kHz.
            text: Embeddings of what is said, shape (batch, 768), rows of zeros where that is unknown. None where
                nothing is known; purifiers that do not read text ignore it.

        Returns:
            Purified waveforms, shape (batch, time).

        Raises:
            ValueError: If `waveform` is no such tensor, or `text` is not of shape (batch, 768).
        """
        check_tensor(waveform)
        if text is not None and text.shape != (len(waveform), TEXT_DIM):
            raise ValueError(f"text must have shape {(len(waveform), TEXT_DIM)}, got {tuple(text.shape)}")
        return self.purify(waveform, text)

    def noise(self, waveform: Tensor, count: int = 1) -> Tensor:
        """Draws standard Gaussian noise, as `seed` says.

        Args:
            waveform: Shape (batch, time); only its shape, type and device matter.
            count: Independent draws.

        Returns:
            Shape (count, batch, time); with a seed all rows are the same, drawn on the CPU for any device.
        """
        if self.seed is None:
            return torch.randn(count, *waveform.shape, dtype=waveform.dtype, device=waveform.device)
        generator = torch.Generator().manual_seed(self.seed)
        row = torch.randn(count, 1, waveform.shape[1], generator=generator).to(waveform)
        return row.expand(count, *waveform.shape)
