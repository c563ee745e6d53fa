"""The certified accuracy curve: share of utterances that no perturbation of a given norm can turn, over that norm.

The plot of Cohen et al. 2019 (Figure 1), with Wilson bands and the loudness of the perturbation as a second axis.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from voxcert.columns import Columns
from voxcert.evaluation.certification.tables import by_rule, is_guarantee, rule_name, unfinished
from voxcert.evaluation.show.figures import (
    BLUE,
    GREEN,
    PURPLE,
    VERMILION,
    add_loudness_axis,
    canvas,
    draw_share,
    save,
    tidy,
    unit_of,
)
from voxcert.smoothing.certificate import Certificate
from voxcert.smoothing.curves import certified_accuracy, certified_radii, wilson_interval

COLORS = {
    "distribution": BLUE,
    "vote": GREEN,
    "mean": VERMILION,
    "lipschitz": PURPLE,
    "published_mean": VERMILION,
    "published_se": PURPLE,
}
"""A published rule has the colour of its sound sister."""
STYLES = {"lipschitz": ":", "published_mean": "--", "published_se": "--"}  # `lipschitz` all but covers `mean`


MOST_STEPS = 5000
"""Of a curve."""


def certified_accuracy_figure(rows: Sequence[Certificate], planned: int | None = None) -> Figure:
    """Draws one step curve per rule.

    Args:
        rows: Certificates of one run, of one or more rules.
        planned: Utterances that the run is about; None where these are all.

    Returns:
        A figure that belongs to no window and no global state.

    Raises:
        ValueError: If there are no rows.
    """
    if not rows:
        raise ValueError("rows must hold at least one certificate, got none")
    rows = Columns.of(Certificate, rows)
    groups, first = by_rule(rows), rows[0]
    limit = 1.06 * max(0.0, *(certified_radii(own).max() for own in groups.values())) or first.sigma
    figure = canvas(8, 5)
    axes = figure.add_subplot()
    for rule, own in groups.items():
        _draw_rule(axes, rule, own)
    axes.set(xlim=(0, limit), ylim=(0, 1.02), xlabel=f"l2 norm of the perturbation ({unit_of(first.noise_at)})")
    axes.set_ylabel("certified accuracy")
    samples = rows.column("num_estimate").max()
    count = len(next(iter(groups.values())))
    done = unfinished(rows, planned) or f"{count} utterances"
    settings = f"$\\sigma$ = {first.sigma:g},  n = {samples},  $\\alpha$ = {first.alpha:g}"
    axes.set_title(f"{done},  {settings}", fontsize=11)
    tidy(axes, has_top=True)
    axes.legend(frameon=False, title="rule, 95 % Wilson band", alignment="left", loc="upper right")
    if first.noise_at == "waveform":
        norms = rows.column("waveform_norm")
        add_loudness_axis(axes, norms[norms > 0])
    return figure


def plot_certified_accuracy(rows: Sequence[Certificate], path: str | Path, planned: int | None = None) -> None:
    """Draws the certified accuracy curve into a PNG file; arguments as for `certified_accuracy_figure`."""
    save(certified_accuracy_figure(rows, planned), path)


def _draw_rule(axes: Axes, rule: str, rows: Sequence[Certificate]) -> None:
    draw_certified(
        axes, rows, rule_name(rule), COLORS.get(rule, "0.4"), STYLES.get(rule, "-"), has_band=is_guarantee(rule)
    )


def draw_certified(
    axes: Axes, rows: Sequence[Certificate], label: str, color: str, linestyle: str = "-", has_band: bool = True
) -> float:
    """Draws the curve of one rule down to its largest radius, where it reaches 0, and returns that radius.

    Of very many rows it goes through every so many in the order of their radii: it is too high by 1 / `MOST_STEPS` at
    most, which nobody can tell on a picture.
    """
    ranked = np.sort(np.maximum(certified_radii(rows), 0.0))
    radii = np.unique([0.0, *ranked[:: -(-len(ranked) // MOST_STEPS)], ranked[-1]])
    shares = certified_accuracy(rows, radii)
    bands = np.array([wilson_interval(round(share * len(rows)), len(rows)) for share in shares]) if has_band else None
    draw_share(axes, radii, shares, bands, color=color, label=label, linestyle=linestyle)
    return float(radii[-1])
