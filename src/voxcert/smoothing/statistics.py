"""What is kept of the noisy embeddings: counts whose memory does not depend on the number of samples.

Every rule of docs/guarantee.md reads these statistics and nothing else. So all rules share one pass, shards of
samples are added exactly, and certificates at any other alpha follow without a forward pass.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from voxcert.smoothing.arrays import decode, encode
from voxcert.smoothing.pilot import Pilot

XI_UNIT = 2.0**-32
"""Sums of xi are integers in this unit: exact in any order for up to 2^31 samples."""


@dataclass(frozen=True, eq=False)
class Statistics:
    """Counts over n samples of the base encoder f at x + noise, against K prototypes.

    Attributes:
        pilot: what was chosen before these samples were drawn; its `predicted` is A below, its rivals are k.
        sigma: standard deviation of the noise, in units of the waveform.
        num_planned: how many samples were meant to be drawn, fixed beforehand.
        num_looks: how often the radius was to be computed; with 1, nothing was looked at before the end.
        ranges: which samples these are, as disjoint pairs (start, stop) in ascending order.
        finite: whether all embeddings were finite; otherwise no count means anything.
        vote_counts: (K,) int64, how often each class had the largest score.
        counts: (K-1, m+1) int64, how often exactly j of rival k's thresholds lay below xi_k.
        xi_sum: (K-1,) int64, sums of xi_k in units of `XI_UNIT`; for plug-in estimates and the published rules.
    """

    pilot: Pilot
    sigma: float
    num_planned: int
    num_looks: int
    ranges: tuple[tuple[int, int], ...]
    finite: bool
    vote_counts: np.ndarray
    counts: np.ndarray
    xi_sum: np.ndarray

    @property
    def num_samples(self) -> int:
        """n, the samples that were counted."""
        return sum(stop - start for start, stop in self.ranges)

    @property
    def complete(self) -> bool:
        """Whether all planned samples are here: then n did not depend on what they were, and fixed-n bounds hold."""
        return self.num_samples == self.num_planned

    @property
    def exceedances(self) -> np.ndarray:
        """(K-1, m) how often xi_k > thresholds[k, j]."""
        return exceedances(self.counts)

    @property
    def xi_mean(self) -> np.ndarray:
        """Sample means of xi_k, shape (K-1,)."""
        return self.xi_sum * XI_UNIT / self.num_samples

    def merge(self, other: "Statistics") -> "Statistics":
        """The statistics of both sets of samples.

        Raises:
            ValueError: if the two were planned differently or share a sample.
        """
        for name in ("sigma", "num_planned", "num_looks"):
            mine, others = getattr(self, name), getattr(other, name)
            if mine != others:
                raise ValueError(f"{name} must be the same in statistics to merge, got {mine} and {others}")
        if self.pilot.to_dict() != other.pilot.to_dict():
            raise ValueError(
                "statistics to merge must have the same pilot, got two that chose differently, as they do of noise "
                "from unlike devices (CPU and CUDA, or GPUs of two models) or two versions of torch"
            )
        ranges = _joined(self.ranges + other.ranges)
        return replace(
            self,
            ranges=ranges,
            finite=self.finite and other.finite,
            vote_counts=self.vote_counts + other.vote_counts,
            counts=self.counts + other.counts,
            xi_sum=self.xi_sum + other.xi_sum,
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; exact."""
        return {
            "pilot": self.pilot.to_dict(),
            "sigma": self.sigma,
            "num_planned": self.num_planned,
            "num_looks": self.num_looks,
            "ranges": [list(pair) for pair in self.ranges],
            "finite": self.finite,
            "vote_counts": encode(self.vote_counts),
            "counts": encode(self.counts),
            "xi_sum": encode(self.xi_sum),
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Statistics":
        """The statistics in a dictionary made by `to_dict`."""
        return cls(
            pilot=Pilot.from_dict(values["pilot"]),
            sigma=values["sigma"],
            num_planned=values["num_planned"],
            num_looks=values["num_looks"],
            ranges=tuple((start, stop) for start, stop in values["ranges"]),
            finite=values["finite"],
            vote_counts=decode(values["vote_counts"]),
            counts=decode(values["counts"]),
            xi_sum=decode(values["xi_sum"]),
        )


def exceedances(counts: np.ndarray) -> np.ndarray:
    """How often numbers were above each of their thresholds, (numbers, m), from counts as in `Statistics`."""
    return counts[:, ::-1].cumsum(axis=1)[:, -2::-1]


def counts_of(exceeding: np.ndarray, num_samples: int) -> np.ndarray:
    """Counts as in `Statistics` of so many samples, from how often each threshold was exceeded."""
    return -np.diff(exceeding, axis=1, prepend=num_samples, append=0)


def _joined(ranges: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
    """Ranges in ascending order, neighbours joined."""
    joined: list[tuple[int, int]] = []
    for start, stop in sorted(ranges):
        if joined and start < joined[-1][1]:
            raise ValueError(f"ranges of statistics to merge must be disjoint, got {sorted(ranges)}")
        if joined and start == joined[-1][1]:
            joined[-1] = (joined[-1][0], stop)
        else:
            joined.append((start, stop))
    return tuple(joined)
