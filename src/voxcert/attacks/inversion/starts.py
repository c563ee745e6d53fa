"""Where model inversion begins: constants, coloured noises, distributions, other people's speech, and mixtures.

All initialisations of Pizzi et al. 2023 (arXiv 2301.03206, sec. 4.1). Every draw comes from the generator alone.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal, get_args

import colorednoise
import numpy as np
import torch
from torch import Tensor

EXPONENTS = {"violet": -2, "blue": -1, "white": 0, "pink": 1, "brown": 2}
"""Of a noise's power over frequency, 1 / f^exponent."""


class Start(ABC):
    """An initialisation.

    Attributes:
        num_stretches: Stretches of speech that a draw takes; 0 where it is not made of speech.
    """

    num_stretches = 0

    @abstractmethod
    def draw(self, num_samples: int, generator: np.random.Generator, speech: Tensor | None = None) -> Tensor:
        """Draws one start.

        Args:
            num_samples: Its length.
            generator: Source of chance.
            speech: Stretches of speech of others than the targets, shape (stretches, num_samples); only for starts
                made of speech.

        Returns:
            Shape (num_samples,), float32.

        Raises:
            ValueError: If the start is made of speech and there is too little.
        """


@dataclass(frozen=True)
class Constant(Start):
    """The same value everywhere: zeros, ones, minus ones.

    Args:
        value: The value.
    """

    value: float

    def draw(self, num_samples: int, generator: np.random.Generator, speech: Tensor | None = None) -> Tensor:
        """Returns the constant."""
        return torch.full((num_samples,), float(self.value))


@dataclass(frozen=True)
class Noise(Start):
    """Coloured noise of unit variance (Timmer and Koenig 1995, by the library colorednoise), through tanh.

    Args:
        color: Its colour.
    """

    color: Literal["white", "pink", "brown", "violet", "blue"]

    def __post_init__(self) -> None:
        if self.color not in EXPONENTS:
            raise ValueError(f"color must be one of {', '.join(EXPONENTS)}, got {self.color!r}")

    def draw(self, num_samples: int, generator: np.random.Generator, speech: Tensor | None = None) -> Tensor:
        """Draws noise in (-1, 1)."""
        noise = colorednoise.powerlaw_psd_gaussian(EXPONENTS[self.color], num_samples, random_state=generator)
        return torch.from_numpy(np.tanh(noise)).float()


@dataclass(frozen=True)
class Uniform(Start):
    """Independent samples, uniform between two values: 0 and 1, or -1 and 1, in the paper.

    Args:
        low: Least value.
        high: Largest value.
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ValueError(f"low and high must satisfy low < high, got low={self.low}, high={self.high}")

    def draw(self, num_samples: int, generator: np.random.Generator, speech: Tensor | None = None) -> Tensor:
        """Draws samples."""
        return torch.from_numpy(generator.uniform(self.low, self.high, num_samples)).float()


@dataclass(frozen=True)
class Centred(Start):
    """Independent samples of a distribution about 0; unbounded families leave [-1, 1] now and then.

    Args:
        family: Its family.
        scale: The standard deviation of `normal` (0.2 in the paper), the scale of `laplace` (0.07) and `gumbel` (0.1),
            the concentration of `vonmises` (0.1).
    """

    family: Literal["normal", "laplace", "gumbel", "vonmises"]
    scale: float

    def __post_init__(self) -> None:
        allowed = get_args(type(self).__annotations__["family"])
        if self.family not in allowed:
            raise ValueError(f"family must be one of {', '.join(allowed)}, got {self.family!r}")
        if not self.scale > 0:
            raise ValueError(f"scale must be above 0, got {self.scale}")

    def draw(self, num_samples: int, generator: np.random.Generator, speech: Tensor | None = None) -> Tensor:
        """Draws samples."""
        return torch.from_numpy(getattr(generator, self.family)(0.0, self.scale, num_samples)).float()


@dataclass(frozen=True)
class Speech(Start):
    """A stretch of somebody else's speech, or the mean of several.

    Args:
        mean_of: Stretches to average: 1, or 50, 100 and 150 in the paper.
    """

    mean_of: int = 1

    def __post_init__(self) -> None:
        if self.mean_of < 1:
            raise ValueError(f"mean_of must be at least 1, got {self.mean_of}")

    @property
    def num_stretches(self) -> int:
        """As many as are averaged."""
        return self.mean_of

    def draw(self, num_samples: int, generator: np.random.Generator, speech: Tensor | None = None) -> Tensor:
        """Averages stretches that are drawn without replacement."""
        found = 0 if speech is None else len(speech)
        if found < self.mean_of:
            raise ValueError(f"speech must hold {self.mean_of} stretches for this start, got {found}")
        return speech[torch.from_numpy(generator.permutation(found)[: self.mean_of])].mean(dim=0)


@dataclass(frozen=True)
class Mixture(Start):
    """A start with a little noise: `share * start + (1 - share) * noise`.

    Args:
        start: The start; 0.85 of speech in the paper.
        noise: The noise; white in the paper.
        share: Of the start.
    """

    start: Start
    noise: Start
    share: float = 0.85

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise ValueError(f"share must be in [0, 1], got {self.share}")

    @property
    def num_stretches(self) -> int:
        """Those of the part that takes more."""
        return max(self.start.num_stretches, self.noise.num_stretches)

    def draw(self, num_samples: int, generator: np.random.Generator, speech: Tensor | None = None) -> Tensor:
        """Draws both and mixes them."""
        start = self.start.draw(num_samples, generator, speech)
        return self.share * start + (1 - self.share) * self.noise.draw(num_samples, generator, speech)
