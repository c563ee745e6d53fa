"""What all figures share: one canvas, one palette, one axis that says how loud a perturbation is.

Colours are those of Okabe and Ito (2008), which colour-blind readers tell apart.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

BLACK, BLUE, VERMILION, GREEN = "#000000", "#0072b2", "#d55e00", "#009e73"
PURPLE, ORANGE, SKY, YELLOW = "#cc79a7", "#e69f00", "#56b4e9", "#f0e442"
GREY = "#999999"
LOUDNESS_LEVELS = range(0, 160, 2)
"""In dB below the utterance."""


def canvas(width: float, height: float) -> Figure:
    """A figure of so many inches that belongs to no window and no global state."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def tidy(axes: Axes, grid: Literal["both", "x"] = "both", has_top: bool = False) -> None:
    """A light grid behind the data, and no frame at the right or, unless an axis goes there, at the top."""
    axes.grid(axis=grid, color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["right"] if has_top else ["right", "top"]].set_visible(False)


def draw_share(
    axes: Axes, radii: np.ndarray, shares: np.ndarray, bands: np.ndarray | None, *, color: str, label: str, **style: str
) -> None:
    """Draws a share of utterances over radii as a step curve.

    Args:
        axes: Where.
        radii: Shape (n,), ascending.
        shares: Shape (n,).
        bands: Intervals (n, 2) around the shares; None draws none.
        color: Of curve and band.
        label: For the legend.
        **style: Of the curve.
    """
    axes.step(radii, shares, where="post", linewidth=1.8, color=color, label=label, **style)
    if bands is not None:
        axes.fill_between(radii, *bands.T, step="post", color=color, alpha=0.12, linewidth=0)


def add_loudness_axis(axes: Axes, norms: Sequence[float]) -> None:
    """Marks on top how far a perturbation lies below an utterance of median norm, in dB.

    Args:
        axes: With l2 norms on x, linear or logarithmic, and its limits set.
        norms: l2 norms of the utterances; without any, nothing is drawn.
    """
    if not len(norms):
        return
    norm = float(np.median(norms))
    low, high = axes.get_xlim()
    span = 20 * np.log10(high / low) if low > 0 else 0.0
    to_axes = axes.transData + axes.transAxes.inverted()
    ticks: list[tuple[float, str]] = []
    last = np.inf
    for level in LOUDNESS_LEVELS[:: 5 if span > 40 else 1]:
        radius = norm * 10 ** (-level / 20)
        place = to_axes.transform((radius, 0))[0] if low < radius <= high else -1.0
        if place >= 0.03 and last - place >= 0.06:
            ticks.append((radius, str(level)))
            last = place
    top = axes.secondary_xaxis("top")
    top.set_xticks([radius for radius, _ in ticks], [label for _, label in ticks])
    top.set_xticks([], minor=True)
    top.tick_params(labelsize=9, colors="0.35")
    top.set_xlabel("SNR of the perturbation in dB (utterance of median norm)", fontsize=9, color="0.35")


def unit_of(noise_at: str) -> str:
    """What the l2 norms of an axis are in; those of different representations never share one.

    Args:
        noise_at: Where noise enters.
    """
    return "waveform in [-1, 1]" if noise_at == "waveform" else f"of the {noise_at}"


def save(figure: Figure, path: str | Path) -> None:
    """Writes a PNG file; folders are made."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
