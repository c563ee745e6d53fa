"""Inversion in numbers: a row per start and method, as Table 1 of Pizzi et al. 2023 (arXiv 2301.03206)."""

from collections.abc import Sequence
from statistics import fmean, pstdev
from typing import Any

from voxcert.evaluation.inversion.row import InversionRow
from voxcert.evaluation.show.tables import render_table
from voxcert.smoothing.curves import wilson_interval


def summarize_inversions(rows: Sequence[InversionRow]) -> list[dict[str, Any]]:
    """Summaries of each experiment, in order of first appearance.

    Returns:
        Accuracy over speakers with its 95 % Wilson interval, the number of correct speakers, accuracy over chunks, mean
        and standard deviation of the distance over successes, mean steps, seconds per speaker and failures.
    """
    groups: dict[str, list[InversionRow]] = {}
    for row in rows:
        groups.setdefault(row.experiment, []).append(row)
    return [_summary(name, own) for name, own in groups.items()]


def inversion_table(summaries: Sequence[dict[str, Any]], step_sizes: dict[str, float]) -> str:
    """A Markdown table of summaries; `step_sizes` are those of the experiments.

    Where any speaker has no result, a column says of how many, who count as not inverted.
    """
    failed = any(one["failed"] for one in summaries)
    columns = ["speakers", *["failed"] * failed, "chunks", "distance", "steps", "s/speaker"]
    lines = [["start, method", "step", "accuracy [95 %]", *columns]]
    for one in summaries:
        low, high = one["interval"]
        lines.append(
            [
                one["experiment"],
                f"{step_sizes[one['experiment']]:g}",
                f"{100 * one['accuracy']:.1f} % [{100 * low:.0f}, {100 * high:.0f}]",
                f"{one['correct_speakers']} of {one['speakers']}",
                *[str(one["failed"])] * failed,
                f"{100 * one['chunk_accuracy']:.1f} %",
                "" if one["distance"] is None else f"{one['distance']:.3f} ± {one['distance_deviation']:.3f}",
                f"{one['steps']:.0f}",
                f"{one['seconds']:.2f}",
            ]
        )
    return render_table(lines)


def describe_baselines(baselines: dict[str, Any]) -> str:
    """What the system does on recordings, as a list in Markdown."""
    lines = []
    for name in ("trained", "held_out"):
        if name in baselines:
            one = baselines[name]
            lines.append(
                f"- recordings, {name.replace('_', ' ')}: error {100 * one['utterance_error']:.1f} % of "
                f"{one['speakers']} speakers, {100 * one['frame_error']:.1f} % of {one['frames']} chunks"
            )
    for samples in ("chunks", "d_vectors"):
        line = f"- averaged {samples.replace('_', '-')} of a speaker are named rightly: "
        line += f"trained {100 * baselines[f'averaged_{samples}_accuracy']:.1f} %"
        if (held_out := baselines.get(f"held_out_averaged_{samples}_accuracy")) is not None:
            line += f", held out {100 * held_out:.1f} %"
        lines.append(line)
    if baselines["within_speaker_distance"] is not None:
        lines.append(f"- distance between d-vectors of one speaker: {baselines['within_speaker_distance']:.3f}")
    return "\n".join(lines)


def _summary(name: str, rows: Sequence[InversionRow]) -> dict[str, Any]:
    correct = [row for row in rows if row.correct]
    distances = [row.distance for row in correct if row.distance is not None]
    return {
        "experiment": name,
        "speakers": len(rows),
        "correct_speakers": len(correct),
        "accuracy": len(correct) / len(rows),
        "interval": list(wilson_interval(len(correct), len(rows))),
        "chunk_accuracy": fmean(row.chunk_accuracy for row in rows),
        "distance": fmean(distances) if distances else None,
        "distance_deviation": pstdev(distances) if distances else None,
        "steps": fmean(row.steps for row in rows),
        "seconds": fmean(row.seconds for row in rows),
        "failed": sum(row.failed is not None for row in rows),
    }
