"""Encoders whose smoothed classifiers are known in closed form, and statistics made without an encoder."""

import numpy as np
import torch
from scipy.stats import norm

from voxcert.smoothing.pilot import Pilot
from voxcert.smoothing.statistics import XI_UNIT, Statistics

RIVALS = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
"""Prototypes u and -u: with f = +-u, xi is +1 or -1 and every bound on it has to work hardest."""

SOUND_RULES = ("vote", "mean", "lipschitz", "distribution")


class HalfSpace:
    """f = u where w.x > 0, else -u: the true radius of vote and embedding alike is |w.x|/|w|."""

    def __init__(self, weight: torch.Tensor) -> None:
        self.weight = weight

    def __call__(self, waveform: torch.Tensor) -> torch.Tensor:
        """Embeddings (batch, 2)."""
        sign = torch.where(waveform @ self.weight > 0, 1.0, -1.0)
        return torch.stack([sign, torch.zeros_like(sign)], dim=1)

    def radius(self, waveform: torch.Tensor) -> float:
        """Distance of a waveform (time,) to the half-space's boundary."""
        return float((waveform @ self.weight).abs() / self.weight.norm())


class Turn:
    """f = (cos a, sin a) with the angle a = clip(slope * w.x, -limit, limit) in degrees, |w| = 1.

    It depends on x through s = w.x alone, so the smoothed embedding g(s) is a one-dimensional integral.
    """

    def __init__(self, slope: float, limit: float, dim: int = 4) -> None:
        self.slope, self.limit = slope, limit
        self.weight = torch.ones(dim) / dim**0.5

    def __call__(self, waveform: torch.Tensor) -> torch.Tensor:
        """Embeddings (batch, 2)."""
        angle = torch.deg2rad((self.slope * (waveform @ self.weight)).clamp(-self.limit, self.limit))
        return torch.stack([angle.cos(), angle.sin()], dim=1)

    def margins(self, s: np.ndarray, sigma: float, directions: np.ndarray) -> np.ndarray:
        """<g, direction> at the points w.x = s, shape (points, directions), by the trapezoidal rule."""
        z = np.linspace(-9.0, 9.0, 6001)
        angles = np.deg2rad(np.clip(self.slope * (np.asarray(s)[:, None] + sigma * z), -self.limit, self.limit))
        weights = norm.pdf(z) * (z[1] - z[0])
        embeddings = np.stack([np.cos(angles) @ weights, np.sin(angles) @ weights], axis=1)
        return embeddings @ directions.T

    def embedding_radius(self, s: float, sigma: float, prototypes: np.ndarray, predicted: int) -> float:
        """Distance along w to the nearest point where a rival's score equals that of the predicted class.

        At most 10 sigma, beyond which nothing is looked for.
        """
        directions = prototypes[predicted] - np.delete(prototypes, predicted, axis=0)
        steps = np.linspace(0.0, 10.0 * sigma, 401)
        radius = 10.0 * sigma
        for side in (-1.0, 1.0):
            values = self.margins(s + side * steps, sigma, directions).min(axis=1)
            assert values[0] > 0.0, "the predicted class must win at the point itself"
            if (values <= 0.0).any():
                first = int((values <= 0.0).argmax())
                low, high = steps[first - 1], steps[first]
                for _ in range(40):
                    middle = (low + high) / 2
                    wins = self.margins([s + side * middle], sigma, directions).min() > 0.0
                    low, high = (middle, high) if wins else (low, middle)
                radius = min(radius, high)
        return radius


def unit(degrees: float) -> np.ndarray:
    """The unit vector in the plane at this angle."""
    return np.array([np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))])


def random_units(num: int, dim: int, seed: int = 0) -> torch.Tensor:
    """Random unit vectors, shape (num, dim)."""
    vectors = torch.randn(num, dim, generator=torch.Generator().manual_seed(seed))
    return vectors / vectors.norm(dim=1, keepdim=True)


def pilot_of(xi: np.ndarray, num_thresholds: int = 64, distances: np.ndarray | None = None) -> Pilot:
    """The pilot of given selection samples of xi, shape (n, K-1); class 0 was chosen."""
    distances = np.ones(xi.shape[1]) if distances is None else distances
    return Pilot.fit(xi.T, num_thresholds, voted=0, predicted=0, distances=distances)


def statistics_of(
    pilot: Pilot, xi: np.ndarray, *, sigma: float = 1.0, num_planned: int | None = None, num_looks: int = 1
) -> Statistics:
    """Statistics of given samples of xi, shape (n, K-1); votes count the samples in which all xi are positive."""
    n, num_rivals = xi.shape
    votes = np.zeros(num_rivals + 1, dtype=np.int64)
    votes[:2] = (xi > 0).all(axis=1).sum(), (xi <= 0).any(axis=1).sum()
    width = pilot.num_thresholds + 1
    bins = [grid.searchsorted(column) for grid, column in zip(pilot.thresholds, xi.T, strict=True)]
    return Statistics(
        pilot=pilot,
        sigma=sigma,
        num_planned=n if num_planned is None else num_planned,
        num_looks=num_looks,
        ranges=((0, n),),
        finite=True,
        vote_counts=votes,
        counts=np.stack([np.bincount(each, minlength=width) for each in bins]),
        xi_sum=np.round(xi / XI_UNIT).astype(np.int64).sum(axis=0),
    )


def two_valued(num_samples: int, p: float, rng: np.random.Generator, num_rivals: int = 1) -> np.ndarray:
    """Samples of xi for f = +-u, the same for all rivals: +1 with probability p, else -1."""
    return np.where(rng.random((num_samples, 1)) < p, 1.0, -1.0) * np.ones((1, num_rivals))


def samples(num_samples: int, rng: np.random.Generator) -> np.ndarray:
    """The xi of four rivals, (num_samples, 4), most of them positive."""
    return np.clip(0.1 + 0.3 * rng.standard_normal((num_samples, 4)), -1, 1)


def turning(waveform: torch.Tensor) -> torch.Tensor:
    """Embeddings in the plane that turn with the first sample of a waveform: by 100 degrees a unit."""
    angle = torch.deg2rad(100.0 * waveform[:, 0].double())
    return torch.stack([angle.cos(), angle.sin()], dim=1)
