"""The certified accuracy curve: share of utterances that no perturbation of a given norm can turn, over that norm.

The plot of Cohen et al. 2019 (Figure 1), with Wilson bands and the loudness of the perturbation as a second axis.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from voxcert.evaluation.report import by_rule, is_guarantee
from voxcert.smoothing.certificate import Certificate
from voxcert.smoothing.curves import certified_accuracy, wilson_interval

COLORS = {
    "distribution": "#0072b2",
    "vote": "#009e73",
    "mean": "#d55e00",
    "lipschitz": "#cc79a7",
    "published_mean": "#d55e00",
    "published_se": "#cc79a7",
}
"""Told apart by colour-blind readers (Okabe and Ito); a published rule has the colour of its sound sister."""
STYLES = {"lipschitz": ":", "published_mean": "--", "published_se": "--"}  # `lipschitz` all but covers `mean`


def certified_accuracy_figure(rows: Sequence[Certificate]) -> Figure:
    """Draws one step curve per rule.

    Args:
        rows: Certificates of one run, of one or more rules.

    Returns:
        A figure that belongs to no window and no global state.

    Raises:
        ValueError: If there are no rows.
    """
    if not rows:
        raise ValueError("rows must hold at least one certificate, got none")
    groups = by_rule(rows)
    certified = [row.radius for row in rows if row.correct and row.abstained is None]
    limit = 1.06 * max(certified, default=0.0) or rows[0].sigma
    figure = Figure(figsize=(8, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for rule, own in groups.items():
        _draw_rule(axes, rule, own)
    first = rows[0]
    unit = "waveform in [-1, 1]" if rows[0].noise_at == "waveform" else f"of the {rows[0].noise_at}"
    axes.set(xlim=(0, limit), ylim=(0, 1.02), xlabel=f"l2 norm of the perturbation ({unit})")
    axes.set_ylabel("certified accuracy")
    samples = max(row.num_estimate for row in rows)
    count = len(next(iter(groups.values())))
    axes.set_title(
        f"{count} utterances,  $\\sigma$ = {first.sigma:g},  n = {samples},  $\\alpha$ = {first.alpha:g}", fontsize=11
    )
    axes.grid(color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["right"]].set_visible(False)
    axes.legend(frameon=False, title="rule, 95 % Wilson band", alignment="left")
    _add_loudness_axis(axes, [row.waveform_norm for row in rows if row.waveform_norm > 0], limit)
    return figure


def plot_certified_accuracy(rows: Sequence[Certificate], path: str | Path) -> None:
    """Draws the certified accuracy curve into a PNG file."""
    certified_accuracy_figure(rows).savefig(path, dpi=150)


def _draw_rule(axes: Axes, rule: str, rows: list[Certificate]) -> None:
    """Draws the curve of one rule down to its largest radius, where it reaches 0."""
    radii = np.unique([0.0, *(row.radius for row in rows if row.correct and row.abstained is None)])
    shares = certified_accuracy(rows, radii)
    bands = np.array([wilson_interval(round(share * len(rows)), len(rows)) for share in shares])
    color = COLORS.get(rule, "0.4")
    style = {"linestyle": STYLES.get(rule, "-"), "linewidth": 1.8, "color": color}
    label = rule if is_guarantee(rule) else f"{rule} (not a guarantee)"
    axes.step(radii, shares, where="post", label=label, **style)
    if is_guarantee(rule):
        axes.fill_between(radii, *bands.T, step="post", color=color, alpha=0.12, linewidth=0)


def _add_loudness_axis(axes: Axes, norms: list[float], limit: float) -> None:
    """Marks on top how far the perturbation lies below an utterance of median norm, in dB."""
    if not norms:
        return
    norm = float(np.median(norms))
    positions, labels = [], []
    for level in range(0, 120, 2):
        radius = norm * 10 ** (-level / 20)
        crowded = positions and positions[-1] - radius < 0.06 * limit
        if radius <= limit and radius >= 0.03 * limit and not crowded:
            positions.append(radius)
            labels.append(f"{level}")
    top = axes.secondary_xaxis("top")
    top.set_xticks(positions, labels)
    top.tick_params(labelsize=9, colors="0.35")
    top.set_xlabel("SNR of the perturbation in dB (utterance of median norm)", fontsize=9, color="0.35")
