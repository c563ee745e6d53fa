"""The figure of a long run: what `benchmarks/bench_soak.py` found it to have at every moment."""

import json
from pathlib import Path

from matplotlib.figure import Figure

from voxcert.evaluation.show.figures import BLUE, GREEN, VERMILION, canvas, tidy

MEASURED = Path(__file__).parents[1] / "benchmarks" / "results" / "soak-cpu.json"


def soak_figure(path: Path = MEASURED) -> Figure:
    """Draws memory, and beside it open files and threads, over minutes."""
    samples = json.loads(path.read_text())["samples"]
    figure = canvas(8, 3.2)
    left, right = figure.subplots(1, 2)
    minutes = [one["minute"] for one in samples]
    left.plot(minutes, [one["memory_bytes"] / 1e6 for one in samples], color=BLUE)
    left.set_ylabel("memory (MB)")
    for name, color in (("open_files", GREEN), ("threads", VERMILION)):
        right.plot(minutes, [one[name] for one in samples], color=color, label=name.replace("_", " "))
    right.legend(frameon=False, loc="center right")
    for axes in (left, right):
        axes.set(xlim=(0, None), ylim=(0, 1.15 * axes.get_ylim()[1]), xlabel="minutes")
        tidy(axes)
    return figure
