"""The picture of a comparison of defences: how often each errs, on genuine and on attacked speech."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from voxcert.evaluation.defence.settings import GENUINE
from voxcert.evaluation.defence.tables import by_condition
from voxcert.evaluation.show.figures import BLACK, BLUE, GREEN, PURPLE, VERMILION, canvas, save, tidy

COLORS = [BLACK, BLUE, VERMILION, GREEN, PURPLE]
"""Of conditions."""


def defences_figure(entries: Sequence[dict[str, Any]]) -> Figure:
    """Draws the equal error rate of every defence: one line each, a dot with its 95 % interval for every condition.

    Args:
        entries: What `summarize_defences` returns. Hollow dots are attacks that do not know the defence.

    Returns:
        A figure that belongs to no window and no global state.

    Raises:
        ValueError: If there are none.
    """
    if not entries:
        raise ValueError("entries must hold at least one defence, got none")
    names = [*dict.fromkeys(one["defence"] for one in entries)]
    figure = canvas(9, 1.6 + 0.55 * len(names))
    axes = figure.add_subplot()
    groups = {key: own for key, own in by_condition(entries).items() if own}
    conditions = [*dict.fromkeys(condition for condition, _ in groups)]
    for place, ((condition, adaptive), own) in enumerate(groups.items()):
        own = [one for one in own if one["error_rate"] is not None]
        color = COLORS[conditions.index(condition) % len(COLORS)]
        rates, heights = [100 * one["error_rate"] for one in own], [names.index(one["defence"]) for one in own]
        shift = 0.6 * ((place + 0.5) / len(groups) - 0.5)
        spread = [[100 * abs(one[end] - one["error_rate"]) for one in own] for end in ("low", "high")]
        axes.errorbar(
            rates,
            [height + shift for height in heights],
            xerr=spread,
            fmt="o",
            color=color,
            markerfacecolor=color if adaptive or condition == GENUINE else "white",
            markersize=5,
            elinewidth=1,
            label=f"{condition}{', adaptive' * adaptive}",
        )
    axes.set(xlim=(-2, 102), ylim=(len(names) - 0.5, -0.5), xlabel="equal error rate in %, 95 % Wilson interval")
    axes.set_yticks(range(len(names)), names)
    tidy(axes, grid="x")
    figure.legend(loc="outside right upper", frameon=False)
    return figure


def plot_defences(entries: Sequence[dict[str, Any]], path: str | Path) -> None:
    """Draws the comparison into a PNG file."""
    save(defences_figure(entries), path)
