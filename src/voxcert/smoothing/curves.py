"""From certificates to curves: certified accuracy, average certified radius, abstention rate, Wilson intervals.

Certified accuracy follows Korzh et al. 2024 (Eq. 21) with abstentions kept in the denominator, the average certified
radius Zhai et al. 2020 (MACER). Pass the rows of one rule at a time.
"""

from collections.abc import Sequence

import numpy as np
from scipy.special import ndtri

from voxcert.columns import Columns
from voxcert.smoothing.certificate import Certificate
from voxcert.smoothing.validation import require


def certified_accuracy(rows: Sequence[Certificate], radii: Sequence[float] | np.ndarray) -> np.ndarray:
    """Share of all rows whose class is correct and whose radius is greater than each of `radii`.

    Args:
        rows: certificates of one rule; abstentions and failures stay in the denominator.
        radii: perturbation norms, at least 0, shape (n,).

    Returns:
        Shares, shape (n,); the value at 0 is the share of correct rows that did not abstain.

    Raises:
        ValueError: if there are no rows, or rows of several rules, or a radius is below 0.
    """
    certified, norms = np.sort(certified_radii(rows)), np.asarray(radii, dtype=np.float64)
    require("radii", list(radii), "norms of at least 0", bool((norms >= 0.0).all()))
    above = len(certified) - np.searchsorted(certified, norms, side="right")
    return above / len(certified)


def certified(rows: Sequence[Certificate], radius: float) -> np.ndarray:
    """Which rows are correct and certified beyond a radius, shape (n,); errors as in `certified_accuracy`."""
    return certified_radii(rows) > radius


def average_certified_radius(rows: Sequence[Certificate]) -> float:
    """Mean radius over all rows, 0 for wrong and abstained ones; errors as in `certified_accuracy`."""
    return float(np.maximum(certified_radii(rows), 0.0).mean())


def abstention_rate(rows: Sequence[Certificate]) -> float:
    """Share of rows that abstained or failed; errors as in `certified_accuracy`."""
    return int(_abstained(_of_one_rule(rows)).sum()) / len(rows)


def smoothed_accuracy(rows: Sequence[Certificate]) -> float:
    """Share of rows with the correct prediction, certified or not; errors as in `certified_accuracy`."""
    return int(correct(_of_one_rule(rows)).sum()) / len(rows)


def wilson_interval(successes: float, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Two-sided interval of Wilson 1927 for a proportion.

    Args:
        successes: count in [0, n]; an error rate between two counts makes it a fraction.
        n: number of trials, at least 1.
        confidence: in (0, 1).

    Raises:
        ValueError: if an argument is out of range.
    """
    if n < 1 or not 0 <= successes <= n:
        raise ValueError(f"successes must lie in [0, n] with n >= 1, got {successes} of {n}")
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"confidence must lie in (0, 1), got {confidence}")
    z = float(ndtri(0.5 + confidence / 2.0))
    share = successes / n
    center = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * np.sqrt(share * (1 - share) / n + (z / (2 * n)) ** 2) / (1 + z * z / n)
    return max(0.0, float(center - half)), min(1.0, float(center + half))


def correct(rows: Sequence[Certificate]) -> np.ndarray:
    """Which rows have the correct prediction, certified or not (`Certificate.correct`), shape (n,)."""
    rows = Columns.of(Certificate, rows)
    prediction = rows.column("prediction")
    return ((prediction == rows.column("speaker")) & (prediction != "")).astype(bool)


def certified_radii(rows: Sequence[Certificate]) -> np.ndarray:
    """Radius of each row, -1 where it is wrong or abstained: never greater than a perturbation norm."""
    rows = _of_one_rule(rows)
    return np.where(correct(rows) & ~_abstained(rows), rows.column("radius"), -1.0)


def _abstained(rows: Columns[Certificate]) -> np.ndarray:
    return np.not_equal(rows.column("abstained"), None).astype(bool)


def _of_one_rule(rows: Sequence[Certificate]) -> Columns[Certificate]:
    rows = Columns.of(Certificate, rows)
    rules = set(rows.column("rule"))
    if len(rules) != 1:
        raise ValueError(f"rows must be certificates of exactly one rule, got {sorted(rules) or 'no rows'}")
    return rows
