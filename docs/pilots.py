"""The figure of pilots: which share of recordings is expected to be certified, over the radius, for every recipe."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from voxcert.evaluation.planning.row import PilotRow
from voxcert.evaluation.show.figures import canvas, tidy

RULE, NUM_ESTIMATE = "vote", 1000
"""Of the certificates that are planned, in figures and tables."""


def pilots_figure(runs: Sequence[tuple[str, Sequence[PilotRow]]]) -> Figure:
    """Draws a panel for each sigma, and in it a step curve for each system.

    Args:
        runs: The system's name and the rows of its pilot, at one sigma.
    """
    sigmas = sorted({row.sigma for _, rows in runs for row in rows})
    colors = {name: f"C{place}" for place, name in enumerate(dict.fromkeys(name for name, _ in runs))}
    figure = canvas(1.5 + 3.6 * len(sigmas), 4.2)
    panels = figure.subplots(1, len(sigmas), sharey=True, squeeze=False)[0]
    for name, rows in runs:
        own = [row for row in rows if row.rule == RULE]
        radii = [row.radii[row.samples.index(NUM_ESTIMATE)] for row in own]
        reached = sorted(radius for radius in radii if radius > 0)
        shares = [(len(reached) - place) / len(radii) for place in range(len(reached) + 1)]
        axes = panels[sigmas.index(own[0].sigma)]
        ends = [0.0, *reached, max(reached, default=0.0)]  # the last step falls to 0
        axes.step(ends, [shares[0], *shares], where="pre", color=colors[name], label=name)
    for axes, sigma in zip(panels, sigmas, strict=True):
        axes.set(xlim=(0, None), ylim=(0, 1.02), xlabel="l2 norm of the perturbation")
        axes.set_title(f"$\\sigma$ = {sigma:g}", fontsize=11)
        tidy(axes)
    panels[0].set_ylabel("expected certified accuracy")
    lines = {line.get_label(): line for axes in panels for line in axes.get_lines()}
    figure.legend(lines.values(), lines.keys(), loc="outside lower center", ncols=2, frameon=False)
    return figure
