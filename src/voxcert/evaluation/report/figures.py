"""What the interactive figures of a page draw, as plain values: every point is computed here, the page only draws."""

from collections.abc import Sequence
from statistics import median
from typing import Any

import numpy as np
from scipy.special import ndtri

from voxcert.evaluation.attack.figures import robust_share
from voxcert.evaluation.attack.robust_accuracy import breaking_norms
from voxcert.evaluation.certification.tables import by_rule, is_guarantee, rule_name
from voxcert.evaluation.report.budgets import PUBLISHED
from voxcert.evaluation.report.runs import Run
from voxcert.evaluation.show.figures import unit_of
from voxcert.evaluation.verification.figures import TICKS, det_points
from voxcert.evaluation.verification.tables import by_verifier

Figure = dict[str, Any]


def accuracy_figure(runs: Sequence[Run], attacks: Sequence[Run]) -> Figure:
    """Certified accuracy of runs and rules, and empirical robust accuracy under attacks, over the l2 norm.

    Args:
        runs: Identification runs whose noise enters at one place, at least one; or none, beside attacks.
        attacks: Attack runs; shown beside runs whose noise is at the waveform.
    """
    noise_at = runs[0].noise_at if runs else "waveform"
    about_waveforms = noise_at == "waveform"
    curves = [
        {"system": run.name, "rule": rule, "label": rule_name(rule), "guarantee": is_guarantee(rule)}
        | {"points": _points([row.certified_radius for row in rows])}
        for run in runs
        for rule, rows in by_rule(run.rows).items()
    ]
    for run in attacks if about_waveforms else ():
        marks = sorted({row.radius for row in run.rows if row.radius is not None and row.within is None})
        curves.append(
            {"system": _attack_name(run, runs), "rule": "", "label": "empirical", "guarantee": False, "marks": marks}
            | {"points": _points(list(breaking_norms(run.rows).values()), marks)}
        )
    budgets = {}
    if about_waveforms and runs:
        for one in PUBLISHED:
            budgets[max(one.radius(row) for run in runs for row in run.rows)] = one.name
    return {
        "kind": "accuracy",
        "curves": curves,
        "unit": unit_of(noise_at),
        "norm": _loudness(runs),
        "budgets": [{"radius": radius, "label": label} for radius, label in sorted(budgets.items())],
    }


def radii_figure(runs: Sequence[Run]) -> Figure:
    """The certified radius of every utterance, by speaker.

    Args:
        runs: Identification runs whose noise enters at one place, at least one.
    """
    dots = [
        {"system": run.name, "rule": rule, "label": rule_name(rule), "speaker": row.speaker, "utterance": row.utterance}
        | {"radius": row.certified_radius, "state": _state(row)}
        for run in runs
        for rule, rows in by_rule(run.rows).items()
        if is_guarantee(rule)
        for row in rows
    ]
    return {"kind": "radii", "dots": dots, "unit": unit_of(runs[0].noise_at)}


def error_rates_figure(trials: Sequence[tuple[Run, dict[str, Any]]]) -> Figure:
    """Certified equal error rates over the radius, of every verifier.

    Args:
        trials: Runs of verification or of the open set whose noise enters at one place, at least one, and what
            `summarize_trials` says of each.
    """
    curves = [
        {"system": run.name, "verifier": verifier, "rates": entry["rates"]}
        for run, summary in trials
        for verifier, entry in summary.items()
    ]
    runs = [run for run, _ in trials]
    return {"kind": "rates", "curves": curves, "unit": unit_of(runs[0].noise_at), "norm": _loudness(runs)}


def det_figure(runs: Sequence[Run]) -> Figure:
    """Certified DET curves (Martin et al. 1997), one for each verifier and radius, on axes of normal deviates."""
    curves = [
        {"system": run.name, "verifier": verifier, "radius": radius, "points": points[corner].tolist()}
        for run in runs
        for verifier, rows in by_verifier(run.rows).items()
        for index, radius in enumerate(rows[0].radii)
        for points, corner in [det_points(rows, index)]
    ]
    ticks = [{"at": float(ndtri(tick)), "label": f"{100 * tick:g}"} for tick in TICKS]
    return {"kind": "det", "curves": curves, "ticks": ticks}


def _loudness(runs: Sequence[Run]) -> float | None:
    """The median norm of the utterances, which an axis in decibels is about; none where noise is not at waveforms."""
    rows = [row for run in runs for row in run.rows if row.waveform_norm > 0]
    return median(row.waveform_norm for row in rows) if rows and all(r.noise_at == "waveform" for r in rows) else None


def _attack_name(run: Run, certified: Sequence[Run]) -> str:
    """The attack run, with how many utterances it met where these are not those of a certified run beside it."""
    met = {row.utterance for row in run.rows}
    alike = all(met == {row.utterance for row in one.rows} for one in certified)
    return run.name if alike else f"{run.name}, {len(met)} utterances"


def _points(norms: Sequence[float], marks: Sequence[float] = ()) -> list[list[float]]:
    """Norm, share of utterances above it, and its interval, wherever the share changes."""
    x, shares, bands = robust_share(norms, marks)
    return np.column_stack([x, shares, bands]).tolist()


def _state(row: Any) -> str:
    """What a dot says beside its radius."""
    if row.abstained is not None:
        return f"not certified: {row.abstained}"
    return "certified" if row.correct else f"certified for another speaker, {row.prediction}"
