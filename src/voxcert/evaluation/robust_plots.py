"""Certified and empirical robust accuracy on one axis: what is proved from below, what attacks leave from above.

The curves of Korzh et al. 2024 (Fig. 9) on the axis of their certified accuracy, with 95 % Wilson bands.
"""

from collections.abc import Sequence
from itertools import cycle

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from voxcert.evaluation.attack_rows import AttackRow
from voxcert.evaluation.plots import COLORS, STYLES
from voxcert.evaluation.report import by_rule, is_guarantee
from voxcert.evaluation.robust_accuracy import breaking_norms
from voxcert.smoothing.certificate import Certificate
from voxcert.smoothing.curves import wilson_interval

ATTACK_COLORS = ["#000000", "#e69f00", "#56b4e9", "#999999", "#f0e442"]
"""Those of Okabe and Ito that no certification rule has."""


def robust_figure(
    attacks: Sequence[tuple[str, Sequence[AttackRow]]], certificates: Sequence[tuple[str, Sequence[Certificate]]] = ()
) -> Figure:
    """Draws a step curve for each attack and for each sound rule of each certification run.

    Args:
        attacks: A name, and the rows of an attack run.
        certificates: A name, and the certificates of a run.

    Returns:
        A figure that belongs to no window and no global state.

    Raises:
        ValueError: If no attack has rows.
    """
    if not any(rows for _, rows in attacks):
        raise ValueError("attacks must hold rows, got none")
    figure = Figure(figsize=(8, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    ends = []
    for color, (name, rows) in zip(cycle(ATTACK_COLORS), attacks, strict=False):
        norms = list(breaking_norms(rows).values())
        ends += [norm for norm in norms if np.isfinite(norm)] + [row.radius for row in rows if row.radius]
        budgets = sorted({row.radius for row in rows if row.radius is not None})
        _draw(axes, norms, label=f"{name}, empirical", color=color, marks=budgets)
    for name, rows in certificates:
        for rule, own in by_rule(rows).items():
            if is_guarantee(rule):
                radii = [row.radius if row.correct and row.abstained is None else 0.0 for row in own]
                ends += radii
                _draw(axes, radii, label=f"{name}, certified ({rule})", color=COLORS[rule], style=STYLES.get(rule, "-"))
    limit = 1.06 * max(ends, default=0.0) or 1.0
    axes.set(xlim=(0, limit), ylim=(0, 1.02), xlabel="l2 norm of the perturbation (waveform in [-1, 1])")
    axes.set_ylabel("accuracy under perturbation")
    axes.grid(color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["right"]].set_visible(False)
    axes.legend(frameon=False, title="95 % Wilson bands", alignment="left")
    return figure


def _draw(
    axes: Axes, norms: Sequence[float], *, label: str, color: str, style: str = "-", marks: Sequence[float] = ()
) -> None:
    """Draws the share of utterances whose norm is above x, down to the largest finite one."""
    norms = np.sort(norms)
    x = np.unique([0.0, *norms[np.isfinite(norms)], *marks])
    count = len(norms) - np.searchsorted(norms, x, side="right")
    bands = np.array([wilson_interval(int(one), len(norms)) for one in count])
    axes.step(x, count / len(norms), where="post", label=label, color=color, linestyle=style, linewidth=1.8)
    axes.fill_between(x, *bands.T, step="post", color=color, alpha=0.12, linewidth=0)
