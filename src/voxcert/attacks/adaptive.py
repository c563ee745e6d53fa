"""Recognizers that make an attack adaptive: expectations over a defence's randomness, and gradients where it has none.

Expectation over transformation and backward-pass approximation follow Athalye et al. 2018 (sections 4.1 and 4.2), the
attack on a smoothed classifier Salman et al. 2019 (SmoothAdv, eqs. (5) and (6)).
"""

import math
import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


class Expectation(nn.Module, ABC):
    """Scores of a random recognizer, averaged over draws, with gradients in bounded memory.

    Draws go through the recognizer in chunks. Where there is more than one chunk and gradients are wanted, a chunk is
    computed again for its gradient instead of being kept (one more forward pass in all).

    Subclasses write `scores`.

    Args:
        recognizer: Waveform (batch, time) -> scores (batch, speakers).
        num_samples: Draws per waveform.
        scale: None averages the scores: for cosines these are the scores of the mean embedding. A number averages the
            probabilities softmax(scale * scores) instead, the softened vote of SmoothAdv, and returns their logarithms:
            `CrossEntropy(scale=1)` is then its loss.
        batch_size: Most rows in the recognizer at once (but at least one draw of the whole batch).
        seed: Of the draws.
        fresh: Draw anew on every call, so that every gradient step sees other draws. Otherwise all calls see the same
            draws, those of `seed`: the average is then a fixed function, which makes margins of different steps and
            restarts comparable, and which an attack can overfit when `num_samples` is small.
    """

    def __init__(
        self,
        recognizer: Callable[[Tensor], Tensor],
        num_samples: int,
        *,
        scale: float | None = None,
        batch_size: int = 64,
        seed: int = 0,
        fresh: bool = True,
    ):
        super().__init__()
        if num_samples < 1 or batch_size < 1:
            raise ValueError(f"counts must be at least 1, got {num_samples} samples and batch_size={batch_size}")
        if scale is not None and not scale > 0:
            raise ValueError(f"scale must be positive or None, got {scale}")
        self.recognizer, self.num_samples, self.scale = recognizer, num_samples, scale
        self.batch_size, self.seed, self.fresh = batch_size, seed, fresh
        self._seeds = random.Random(seed)  # a generator of its own, which copies and pickles with the module

    @property
    def speakers(self) -> list[str]:
        """Who is enrolled with the recognizer; AttributeError if it does not say, as a plain function does not."""
        return self.recognizer.speakers

    @property
    def prototypes(self) -> Tensor:
        """Their embeddings (speakers, dim), likewise: some attacks are told by them whom to forge."""
        return self.recognizer.prototypes

    @abstractmethod
    def scores(self, waveform: Tensor, seeds: Sequence[int]) -> Tensor:
        """Scores (draws x batch, speakers) of one draw per seed, all examples of a draw together."""

    def forward(self, waveform: Tensor) -> Tensor:
        """Maps waveforms (batch, time) to mean scores or log mean probabilities (batch, speakers)."""
        source = self._seeds if self.fresh else random.Random(self.seed)
        seeds = [source.getrandbits(31) for _ in range(self.num_samples)]
        size = max(1, self.batch_size // max(1, len(waveform)))
        chunks = [seeds[start : start + size] for start in range(0, len(seeds), size)]
        if len(chunks) == 1:
            sums = self._sum(waveform, seeds)[None]
        else:
            sums = torch.stack([checkpoint(self._sum, waveform, chunk, use_reentrant=False) for chunk in chunks])
        if self.scale is None:
            return sums.sum(dim=0) / self.num_samples
        return sums.logsumexp(dim=0) - math.log(self.num_samples)

    def _sum(self, waveform: Tensor, seeds: Sequence[int]) -> Tensor:
        """Sum of scores, or logarithm of the sum of probabilities, over draws: (batch, speakers)."""
        scores = self.scores(waveform, seeds).unflatten(0, (len(seeds), len(waveform)))
        if self.scale is None:
            return scores.sum(dim=0)
        return (self.scale * scores).log_softmax(dim=-1).logsumexp(dim=0)


class ExpectationOverNoise(Expectation):
    """The smoothed recognizer, for attacks on it: Gaussian noise is added before a deterministic recognizer.

    The draws do not depend on `batch_size`. SmoothAdv training keeps the noise during one attack: `fresh=False`, and
    another `seed` for every batch.

    Args:
        recognizer: As in `Expectation`.
        sigma: Standard deviation of the noise, waveform amplitude.
        num_noise: Draws per waveform.
        **settings: `scale`, `batch_size`, `seed` and `fresh` of `Expectation`.
    """

    def __init__(self, recognizer: Callable[[Tensor], Tensor], sigma: float, num_noise: int, **settings: Any):
        super().__init__(recognizer, num_noise, **settings)
        if not 0 <= sigma < math.inf:
            raise ValueError(f"sigma must be at least 0 and finite, got {sigma}")
        self.sigma = sigma

    def scores(self, waveform: Tensor, seeds: Sequence[int]) -> Tensor:
        """Scores of noisy copies; a draw depends on its seed and the batch's shape alone."""
        generator = torch.Generator(waveform.device)
        noisy = []
        for seed in seeds:
            generator.manual_seed(seed)
            noise = torch.randn(waveform.shape, generator=generator, device=waveform.device, dtype=waveform.dtype)
            noisy.append(waveform + self.sigma * noise)
        return self.recognizer(torch.cat(noisy))


class ExpectationOverTransformation(Expectation):
    """A recognizer with any random defence inside, averaged over its randomness.

    The defence must draw from torch's global generators, for this device: they are seeded for every call of the
    recognizer, so that a chunk can be computed again for its gradient, and restored afterwards.

    Args:
        recognizer: As in `Expectation`, random; such as a `Recognizer` of `nn.Sequential(purifier, encoder)`.
        num_samples: Draws per waveform.
        per_row: Whether the defence draws for every row of a batch by itself, as every `Purifier` does. The copies of a
            chunk then go through the recognizer together, which is faster. Otherwise the recognizer is called once for
            each draw, for a defence that draws once for a whole batch would give all copies the same draw.
        **settings: `scale`, `batch_size`, `seed` and `fresh` of `Expectation`.
    """

    def __init__(
        self, recognizer: Callable[[Tensor], Tensor], num_samples: int, *, per_row: bool = False, **settings: Any
    ):
        super().__init__(recognizer, num_samples, **settings)
        self.per_row = per_row

    def scores(self, waveform: Tensor, seeds: Sequence[int]) -> Tensor:
        """Scores of copies, together under the chunk's first seed or each under its own."""
        if self.per_row:
            return self._seeded(waveform.repeat(len(seeds), 1), seeds[0])
        return torch.cat([self._seeded(waveform, seed) for seed in seeds])

    def _seeded(self, waveform: Tensor, seed: int) -> Tensor:
        """Scores of one call, under global generators of this seed."""
        on_cuda = waveform.is_cuda
        with torch.random.fork_rng(devices=[waveform.device] if on_cuda else []):
            torch.default_generator.manual_seed(seed)
            if on_cuda:
                with torch.cuda.device(waveform.device):
                    torch.cuda.manual_seed(seed)
            return self.recognizer(waveform)


class StraightThrough(nn.Module):
    """A step without a useful gradient, such as quantisation or a codec, with the gradient of another (BPDA).

    Args:
        step: Waveform (batch, time) -> waveform of the same shape; computed without gradients.
        surrogate: Differentiable step whose gradient is used at the same input; None is the identity.
    """

    def __init__(self, step: Callable[[Tensor], Tensor], surrogate: Callable[[Tensor], Tensor] | None = None):
        super().__init__()
        self.step, self.surrogate = step, surrogate

    def forward(self, waveform: Tensor) -> Tensor:
        """Returns exactly `step(waveform)`, attached to the graph of the surrogate."""
        with torch.no_grad():
            output = self.step(waveform)
        stand_in = waveform if self.surrogate is None else self.surrogate(waveform)
        if output.shape != stand_in.shape:
            raise ValueError(
                f"step must keep the shape that its gradient is taken with, {tuple(stand_in.shape)}, "
                f"got {tuple(output.shape)}"
            )
        return _Replace.apply(stand_in, output)


class _Replace(torch.autograd.Function):
    """Forward the second argument, backward into the first."""

    @staticmethod
    def forward(ctx: Any, stand_in: Tensor, output: Tensor) -> Tensor:
        return output.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None
