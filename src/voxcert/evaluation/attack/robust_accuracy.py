"""Empirical robust accuracy: the share of utterances that are right and that no attack seen so far could turn.

The ERA of Korzh et al. 2024 (section 5, Fig. 9): an upper bound on what is robust, as certified accuracy is a lower
one.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from voxcert.evaluation.attack.row import AttackRow
from voxcert.smoothing.certificate import Certificate

ROUNDING = 1e-4
"""A perturbation may exceed its budget by this share and counts as within: float32 projects no more exactly."""


def breaking_norms(rows: Sequence[AttackRow]) -> dict[str, float]:
    """Finds the l2 norm of the smallest perturbation under which each utterance was decided wrongly.

    A success at a small radius is one at all larger radii too, whatever the attack found there: so the curve never
    rises, and is the lowest, which for an upper bound is the honest one.

    Args:
        rows: Of one system; several attacks, and several radii, make one stronger attack.

    Returns:
        Utterance -> norm: 0 where there is no right decision without an attack, infinite where no attack worked.
        An attack that failed did not work; an abstention is no decision: a smoothed system that does not answer was not
        shown to have changed.
    """
    norms: dict[str, float] = {}
    for row in rows:
        if not row.correct_before:
            norm = 0.0
        else:
            norm = breaking_norm(row) if row.turned else math.inf
        norms[row.utterance] = min(norm, norms.get(row.utterance, math.inf))
    return norms


def robust_accuracy(rows: Sequence[AttackRow], radii: ArrayLike) -> np.ndarray:
    """Share of utterances that are right, and stay so under all perturbations tried of at most each l2 norm.

    Args:
        rows: As for `breaking_norms`.
        radii: l2 norms, shape (n,).

    Returns:
        Shape (n,); at 0 the clean accuracy.

    Raises:
        ValueError: If there are no rows.
    """
    if not rows:
        raise ValueError("rows must hold at least one attacked utterance, got none")
    norms = np.sort(list(breaking_norms(rows).values()))
    broken = np.searchsorted(norms, np.asarray(radii, dtype=np.float64), side="right")
    return 1 - broken / len(norms)


def broken_certificates(rows: Sequence[AttackRow], certificates: Sequence[Certificate]) -> list[Certificate]:
    """Certificates inside whose radius an attack has turned the decision: none are to be expected.

    Args:
        rows: Attacks on a smoothed system.
        certificates: Of the same system, one rule.
    """
    norms = breaking_norms([row for row in rows if row.correct_before])
    return [one for one in certificates if one.certified and norms.get(one.utterance, math.inf) < one.radius]


def attacked_certificates(rows: Sequence[AttackRow], certificates: Sequence[Certificate]) -> list[Certificate]:
    """Certificates inside whose radius an attack has turned a right answer, or tried to; others it says nothing about.

    An attack that failed, or found nothing and gave the utterance back, tried nothing.

    Args:
        rows: As for `broken_certificates`.
        certificates: As for `broken_certificates`.
    """
    least: dict[str, float] = {}
    for row in rows:
        if row.correct_before and row.changed:
            least[row.utterance] = min(breaking_norm(row), least.get(row.utterance, math.inf))
    return [one for one in certificates if one.certified and least.get(one.utterance, math.inf) < one.radius]


def breaking_norm(row: AttackRow) -> float:
    """The l2 norm that a perturbation counts with: its own, or its budget where float32 went a little beyond."""
    within = row.radius is not None and row.l2 <= row.radius * (1 + ROUNDING)
    return min(row.l2, row.radius) if within else row.l2
