"""Certified error rates over the radius, and the certified DET plot (Martin et al. 1997)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.special import ndtri

from voxcert.evaluation.metrics.detection import crossing_error_rate, error_rates
from voxcert.evaluation.show.figures import BLUE, GREEN, add_loudness_axis, canvas, save, tidy, unit_of
from voxcert.evaluation.show.tables import rounded_down
from voxcert.evaluation.verification.tables import bounds_at, by_verifier
from voxcert.smoothing.certified_score import CertifiedScore

COLORS = {"embedding": BLUE, "vote": GREEN}
TICKS = [0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.95]


def error_rate_figure(rows: Sequence[CertifiedScore], summary: dict[str, dict[str, Any]]) -> Figure:
    """Draws the certified equal error rate over the radius, and a certified DET curve for each radius.

    Between two radii the rate is the one at the larger: nothing better is proved there.

    Args:
        rows: Of one run, of one or more verifiers; the DET curves are those of the first.
        summary: What `summarize_trials` says of them.

    Returns:
        A figure that belongs to no window and no global state.

    Raises:
        ValueError: If there are no rows.
    """
    if not rows:
        raise ValueError("rows must hold at least one trial, got none")
    figure = canvas(12, 5)
    left, right = figure.subplots(1, 2)
    for verifier, entry in summary.items():
        radii = [rate["radius"] for rate in entry["rates"]]
        color = COLORS[verifier]
        rates = [100 * rate["eer"] for rate in entry["rates"]]
        left.plot(radii, rates, marker="o", drawstyle="steps-pre", color=color, label=verifier)
        bands = [[rate[end] for rate in entry["rates"]] for end in ("eer_low", "eer_high")]
        if None not in bands[0]:
            left.fill_between(radii, *(100 * np.array(bands)), step="pre", color=color, alpha=0.12, linewidth=0)
    entry = next(iter(summary.values()))
    left.set(xlim=(0, None), ylim=(0, None), ylabel="certified equal error rate in %")
    left.set_xlabel(f"l2 norm of the perturbation ({unit_of(rows[0].noise_at)})")
    left.legend(title="verifier", frameon=False, loc="center right")
    tidy(left, has_top=True)
    if rows[0].noise_at == "waveform":
        add_loudness_axis(left, [row.waveform_norm for row in rows if row.waveform_norm > 0])
    _draw_det(right, next(iter(by_verifier(rows).values())))
    first, counts = rows[0], [entry[f"num_{kind}"] for kind in ("genuine", "impostor", "speakers")]
    figure.suptitle(
        "{} genuine and {} impostor trials, {} speakers,  ".format(*counts)
        + f"$\\sigma$ = {first.sigma:g},  n = {max(row.num_estimate for row in rows)},  $\\alpha$ = {first.alpha:g}",
        fontsize=11,
    )
    return figure


def det_points(rows: Sequence[CertifiedScore], index: int) -> tuple[np.ndarray, np.ndarray]:
    """The staircase of certified false acceptances and rejections, as a DET plot has it.

    Args:
        rows: Of one verifier.
        index: Which of their radii.

    Returns:
        Normal deviates of both rates at every threshold, within the ticks, (thresholds, 2); which of them are corners.
    """
    bounds, genuine = bounds_at(rows, index)
    _, rejected, accepted = error_rates(bounds[genuine], bounds[~genuine])
    changes = np.stack([rates[1:] != rates[:-1] for rates in (rejected, accepted)])
    turns = (changes[:, 1:] != changes[:, :-1]).any(axis=0) | changes[:, 1:].all(axis=0)
    rates = np.column_stack([accepted, rejected])
    return ndtri(rates.clip(TICKS[0] / 2, 1 - TICKS[0] / 2)), np.concatenate([[True], turns, [True]])


def _draw_det(axes: Axes, rows: Sequence[CertifiedScore]) -> None:
    radii, color = rows[0].radii, COLORS[rows[0].verifier]
    for index, radius in enumerate(radii):
        points, _ = det_points(rows, index)
        shade = 0.15 + 0.85 * (1 - index / max(len(radii) - 1, 1))
        axes.plot(*points.T, color=color, alpha=shade, label=rounded_down(radius, 6), drawstyle="steps-post")
        bounds, genuine = bounds_at(rows, index)
        rate = crossing_error_rate(bounds[genuine], bounds[~genuine])
        if 0 < rate < 1:
            axes.plot(*[ndtri(rate)] * 2, marker="o", color=color, alpha=shade)
    places = ndtri(np.array(TICKS))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_ticks(places, [f"{100 * tick:g}" for tick in TICKS])
    axes.set(xlim=(places[0], places[-1]), ylim=(places[0], places[-1]))
    axes.set(xlabel="certified false acceptances in %", ylabel="certified false rejections in %")
    axes.legend(title=f"radius ({rows[0].verifier})", frameon=False, loc="upper right")
    tidy(axes)


def plot_error_rates(rows: Sequence[CertifiedScore], summary: dict[str, dict[str, Any]], path: str | Path) -> None:
    """Draws `error_rate_figure` into a PNG file."""
    save(error_rate_figure(rows, summary), path)
