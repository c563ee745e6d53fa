"""Pictures of a comparison of defences: how often each errs, and what it leaves of the speech."""

from collections.abc import Sequence
from math import nan
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from voxcert.evaluation.defence.settings import GENUINE, UNDEFENDED
from voxcert.evaluation.defence.tables import HEADINGS, by_condition
from voxcert.evaluation.show.figures import BLACK, BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, VERMILION, canvas, save, tidy

DEFENCES_PLOT, QUALITY_PLOT = "defences.png", "quality.png"
HUES, MARKERS = [BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, BLACK], ["o", "s", "^", "D"]
"""Of defences."""
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
        axes.errorbar(
            rates,
            [height + shift for height in heights],
            xerr=_spread(own),
            fmt="o",
            color=color,
            markerfacecolor=color if adaptive or condition == GENUINE else "white",
            markersize=5,
            elinewidth=1,
            label=f"{condition}{', adaptive' * adaptive}",
        )
    axes.set(xlim=(-2, 102), ylim=(len(names) - 0.5, -0.5), xlabel="equal error rate in %, 95 % interval over speakers")
    axes.set_yticks(range(len(names)), names)
    tidy(axes, grid="x")
    figure.legend(loc="outside right upper", frameon=False)
    return figure


def quality_figure(entries: Sequence[dict[str, Any]]) -> Figure:
    """Draws each defence's error rate under the stronger attack over what it leaves of genuine speech.

    One panel for each attack: down is safer, right sounds better. A line joins those that no other defence beats in
    both. The attack is that which knows the defence or that which does not, whichever makes it err more; a defence that
    was not attacked by one who knows it is left out.

    Args:
        entries: What `summarize_defences` returns.

    Returns:
        A figure that belongs to no window and no global state.

    Raises:
        ValueError: If there is no defence of known quality that such an attack was made on.
    """
    metric, quality, worst = _compared(entries)
    if not worst:
        raise ValueError("entries must hold a defence of known quality that was attacked knowingly, got none")
    shown = list(dict.fromkeys(name for own in worst.values() for name in own))
    figure = canvas(5.5 * len(worst) + 2, 5)
    for axes, (condition, own) in zip(figure.subplots(1, len(worst), squeeze=False)[0], worst.items(), strict=True):
        names = sorted(own, key=lambda name: (-quality[name], own[name]["error_rate"]))
        best: list[str] = []
        for name in names:
            if not best or own[name]["error_rate"] < own[best[-1]]["error_rate"]:
                best.append(name)
        points = [(quality[name], 100 * own[name]["error_rate"]) for name in best]
        axes.step(*zip(*points, strict=True), where="post", color=GREY, zorder=1)
        for name in names:
            place, rate, number = quality[name], 100 * own[name]["error_rate"], shown.index(name)
            style = {"color": HUES[number % len(HUES)], "marker": MARKERS[number // len(HUES) % len(MARKERS)]}
            axes.errorbar([place], [rate], yerr=_spread([own[name]]), linestyle="", elinewidth=1, label=name, **style)
        axes.set(title=condition, ylim=(-2, 105), xlabel=f"{HEADINGS[metric]} of genuine speech behind the defence")
        axes.set_ylabel("equal error rate in %, the stronger attack")
        axes.margins(x=0.08)
        tidy(axes)
    handles = {label: one for axes in figure.axes for one, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend([handles[name] for name in shown], shown, loc="outside right upper", frameon=False)
    return figure


def _compared(entries: Sequence[dict[str, Any]]) -> tuple[str, dict[str, float], dict[str, dict[str, dict[str, Any]]]]:
    """The metric, what genuine speech has of it behind each defence, and attack -> defence -> the worse entry."""
    metric = "pesq" if any(one["pesq"] is not None for one in entries) else "stoi"
    quality = {one["defence"]: one[metric] for one in entries if one["condition"] == GENUINE}
    known = {(one["defence"], one["condition"]) for one in entries if one["adaptive"] or one["defence"] == UNDEFENDED}
    worst: dict[str, dict[str, dict[str, Any]]] = {}
    for one in entries:
        name, condition = one["defence"], one["condition"]
        if condition == GENUINE or None in (one["error_rate"], quality.get(name)) or (name, condition) not in known:
            continue
        own = worst.setdefault(condition, {})
        own[name] = max(own.get(name, one), one, key=lambda entry: entry["error_rate"])
    return metric, quality, worst if any(set(own) - {UNDEFENDED} for own in worst.values()) else {}


def _spread(entries: Sequence[dict[str, Any]]) -> list[list[float]]:
    """How far the interval of each rate reaches to either side, in percent; NaN where there is none."""
    return [
        [nan if one[end] is None else 100 * abs(one[end] - one["error_rate"]) for one in entries]
        for end in ("low", "high")
    ]


def plot_defences(entries: Sequence[dict[str, Any]], folder: str | Path) -> None:
    """Draws the comparison into a folder: `defences.png`, and `quality.png` once there is something to compare."""
    save(defences_figure(entries), Path(folder) / DEFENCES_PLOT)
    if _compared(entries)[2]:
        save(quality_figure(entries), Path(folder) / QUALITY_PLOT)
