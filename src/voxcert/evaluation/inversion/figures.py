"""Pictures of an inversion: accuracy by start and method, and where inverted d-vectors lie among those of recordings.

The second is Figure 3 of Pizzi et al. 2023 (arXiv 2301.03206): principal components fitted to d-vectors of recordings.
"""

from collections.abc import Sequence
from math import ceil
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor

from voxcert.evaluation.show.figures import BLUE, GREEN, ORANGE, canvas

COLORS = {"standard": ORANGE, "sliding": BLUE, "d_vector": GREEN}
"""Of methods."""


def accuracy_figure(summaries: Sequence[dict[str, Any]]) -> Figure:
    """Draws the share of speakers inverted, with 95 % Wilson intervals, a bar for each start and method."""
    starts = list(dict.fromkeys(_parts(one)[0] for one in summaries))
    figure = canvas(8, 1.2 + 0.45 * len(starts))
    axes = figure.add_subplot()
    for place, method in enumerate(COLORS):
        own = [one for one in summaries if _parts(one)[1] == method]
        if own:
            y = [starts.index(_parts(one)[0]) + 0.27 * (place - 1) for one in own]
            shares = [one["accuracy"] for one in own]
            bars = [
                [max(0.0, share - one["interval"][0]) for share, one in zip(shares, own, strict=True)],
                [max(0.0, one["interval"][1] - share) for share, one in zip(shares, own, strict=True)],
            ]
            axes.barh(y, shares, 0.25, xerr=bars, color=COLORS[method], label=method.replace("_", "-"), ecolor="0.4")
    failed = {start: sum(one["failed"] for one in summaries if _parts(one)[0] == start) for start in starts}
    names = [f"{start}\n({failed[start]} without a result)" if failed[start] else start for start in starts]
    axes.set_yticks(range(len(starts)), names)
    axes.invert_yaxis()
    axes.set(xlim=(0, 1.02), xlabel="speakers that the system hears in what was inverted (95 % Wilson intervals)")
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside upper right", ncols=3, frameon=False)
    return figure


def components_figure(recorded: Tensor, inverted: dict[str, Tensor], columns: int = 4) -> Figure:
    """Draws two principal components, one panel for each experiment.

    Args:
        recorded: Unit d-vectors of recordings, (recordings, dim), that the components are fitted to.
        inverted: Unit d-vectors (speakers, dim) by experiment.
        columns: Panels side by side.
    """
    mean = recorded.mean(dim=0)
    torch.manual_seed(0)  # the decomposition is randomised
    _, _, axes_of = torch.pca_lowrank(recorded - mean, q=2, center=False)
    columns = min(columns, len(inverted))
    rows = ceil(len(inverted) / columns)
    figure = canvas(3.2 * columns, 3 * rows)
    grid = list(figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flat)
    for panel, (name, d_vectors) in zip(grid, inverted.items(), strict=False):
        panel.scatter(*((recorded - mean) @ axes_of).T, s=3, color="0.75", label="recordings", linewidth=0)
        color = COLORS[name.rsplit(", ", 1)[1]]
        panel.scatter(*((d_vectors - mean) @ axes_of).T, s=7, color=color, label="inverted", linewidth=0)
        panel.set_title(name, fontsize=9)
        panel.tick_params(labelsize=7)
    for panel in grid[len(inverted) - columns : len(inverted)]:
        panel.tick_params(labelbottom=True)  # the lowest of its column
    for empty in grid[len(inverted) :]:
        empty.remove()
    figure.supxlabel("first principal component of recordings' d-vectors", fontsize=9)
    figure.supylabel("second", fontsize=9)
    return figure


def _parts(summary: dict[str, Any]) -> tuple[str, str]:
    name, method = summary["experiment"].rsplit(", ", 1)
    return name, method
