"""Certified and empirical robust accuracy on one axis: what is proved from below, what attacks leave from above.

The curves of Korzh et al. 2024 (Fig. 9) on the axis of their certified accuracy, with 95 % Wilson bands. The axis is
logarithmic, because the smallest proofs and the largest attacks may be 60 dB apart.
"""

from collections.abc import Sequence
from itertools import cycle

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from voxcert.evaluation.attack.robust_accuracy import breaking_norms
from voxcert.evaluation.attack.row import AttackRow
from voxcert.evaluation.certification.figures import COLORS, STYLES
from voxcert.evaluation.certification.tables import by_rule, is_guarantee
from voxcert.evaluation.show.figures import (
    BLACK,
    GREY,
    ORANGE,
    SKY,
    YELLOW,
    add_loudness_axis,
    canvas,
    draw_share,
    tidy,
)
from voxcert.smoothing.certificate import Certificate
from voxcert.smoothing.curves import wilson_interval

ATTACK_COLORS = [BLACK, ORANGE, SKY, GREY, YELLOW]
"""Those that no certification rule has."""
SMALLEST = 1e-9
"""Where a curve begins on a logarithmic axis."""
DECADES = 2.5
"""Most of the axis; below is what nobody hears or proves."""


def robust_figure(
    attacks: Sequence[tuple[str, Sequence[AttackRow]]], certificates: Sequence[tuple[str, Sequence[Certificate]]] = ()
) -> Figure:
    """Draws a step curve for each attack and for each sound rule of each certification run.

    Dots are the radii that an attack was run at: between two of them, nobody looked.

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
    figure = canvas(10, 5)
    axes = figure.add_subplot(xscale="log")
    ends = []
    for name, rows in certificates:
        for rule, own in by_rule(rows).items():
            if is_guarantee(rule):
                norms = [row.certified_radius for row in own]
                style = {"color": COLORS[rule], "linestyle": STYLES.get(rule, "-")}
                ends += _draw(axes, norms, label=f"certified: {name}, {rule}", **style)
    for color, (name, rows) in zip(cycle(ATTACK_COLORS), attacks, strict=False):
        radii = sorted({row.radius for row in rows if row.radius is not None})
        ends += _draw(axes, list(breaking_norms(rows).values()), radii, label=f"empirical: {name}", color=color)
    limit = 1.15 * max(ends, default=1.0)
    least = max(0.7 * min(ends, default=0.1), limit / 10**DECADES)
    axes.set(xlim=(least, limit), ylim=(0, 1.02), xlabel="l2 norm of the perturbation (waveform in [-1, 1])")
    axes.set_ylabel("robust accuracy")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_locator(NullLocator())
    tidy(axes, has_top=True)
    count = len({row.utterance for row in attacks[0][1]})
    figure.legend(
        loc="outside right upper", frameon=False, title=f"{count} utterances, 95 % Wilson bands", alignment="left"
    )
    loud = [row for _, rows in attacks for row in rows if row.snr_db is not None]
    add_loudness_axis(axes, [row.l2 * 10 ** (row.snr_db / 20) for row in loud])
    return figure


def _draw(axes: Axes, norms: Sequence[float], marks: Sequence[float] = (), **style: str) -> list[float]:
    """Draws the share of utterances whose norm is above x, up to the last known; returns where it steps."""
    x, shares, bands = robust_share(norms, marks)
    x[0] = SMALLEST
    draw_share(axes, x, shares, bands, **style)
    axes.plot(marks, shares[np.searchsorted(x, marks)], "o", color=style["color"], markersize=4)
    return x[1:].tolist()


def robust_share(norms: Sequence[float], marks: Sequence[float] = ()) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The share of utterances whose norm is above x, wherever it changes.

    Args:
        norms: Certified radii, or the norms that broke utterances; 0 for one that is wrong, infinite for one unbroken.
        marks: Values of x to include.

    Returns:
        x (n,), ascending from 0; the shares (n,); their 95 % Wilson intervals (n, 2).
    """
    norms = np.sort(norms)
    x = np.unique([0.0, *norms[np.isfinite(norms) & (norms > 0)], *marks])
    counts = len(norms) - np.searchsorted(norms, x, side="right")
    return x, counts / len(norms), np.array([wilson_interval(int(count), len(norms)) for count in counts])
