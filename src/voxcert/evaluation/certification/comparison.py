"""Certified accuracy of several systems on one picture, such as an encoder with a denoiser in front of it and without.

A panel for each smoothing noise and each place where it enters, with the curves of Cohen et al. 2019 (Figure 1) for the
systems that were certified there, as in Carlini et al. 2023 for denoised smoothing.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from voxcert.evaluation.certification.figures import draw_certified
from voxcert.evaluation.certification.folder import read_run
from voxcert.evaluation.certification.tables import by_rule, is_guarantee
from voxcert.evaluation.metrics.detection import speaker_interval_of_difference
from voxcert.evaluation.run.folder import endings, read_config
from voxcert.evaluation.show.figures import (
    BLACK,
    BLUE,
    GREEN,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    canvas,
    save,
    tidy,
    unit_of,
)
from voxcert.smoothing.certificate import Certificate
from voxcert.smoothing.curves import certified

COMPARISON_PLOT = "certified_comparison.png"
COLORS = [BLACK, BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY]
"""Of systems."""


def system_name(config: dict[str, Any]) -> str:
    """What a run certified: its encoder, the purifier in front of it, and where noise enters if not at the waveform."""
    encoder = _short(config.get("checkpoint") or config.get("encoder")) or "encoder"
    purifier, noise_at = _short(config.get("purifier")), config.get("noise_at", "waveform")
    system = encoder if purifier is None else f"{purifier} + {encoder}"
    return system if noise_at == "waveform" else f"{system}, noise at the {noise_at}"


def common_rule(runs: Sequence[Sequence[Certificate]]) -> str | None:
    """The first sound rule that all runs have; None where there is none, or no run."""
    rules = [list(filter(is_guarantee, by_rule(rows))) for rows in runs]
    return next((rule for rule in rules[0] if all(rule in own for own in rules)), None) if rules else None


def comparison_figure(runs: Sequence[tuple[str, Sequence[Certificate]]], one_panel: bool = False) -> Figure:
    """Draws a panel for each place of the noise and sigma: a step curve for each system, with its 95 % Wilson band.

    Args:
        runs: The system's name and the certificates of a run; of the first sound rule that all runs have.
        one_panel: Draw all sigmas of a place in one, where the names tell them apart.

    Returns:
        A figure that belongs to no window and no global state.

    Raises:
        ValueError: If there are no runs, or no sound rule is common to all of them.
    """
    if (rule := common_rule([rows for _, rows in runs])) is None:
        raise ValueError(f"runs must have a sound rule in common, got {[[*by_rule(rows)] for _, rows in runs]}")
    own = [(name, by_rule(rows)[rule]) for name, rows in runs]
    noises = [(rows[0].noise_at, 0.0 if one_panel else rows[0].sigma) for _, rows in own]
    groups = [[one for one, here in zip(own, noises, strict=True) if here == noise] for noise in sorted(set(noises))]
    colors = dict(zip(dict.fromkeys(name for name, _ in own), COLORS * len(own), strict=False))
    figure = canvas(1.5 + 3.6 * len(groups) + 2.0 * one_panel, 4.2)
    panels = figure.subplots(1, len(groups), sharey=True, squeeze=False)[0]
    for axes, here in zip(panels, groups, strict=True):
        first = here[0][1][0]
        ends = [draw_certified(axes, rows, name, colors[name]) for name, rows in here]
        axes.set(xlim=(0, 1.06 * max(ends) or first.sigma), ylim=(0, 1.02))
        unit = "" if first.noise_at == "waveform" else f"\n({unit_of(first.noise_at)})"
        axes.set_xlabel(f"l2 norm of the perturbation{unit}")
        if not one_panel:
            axes.set_title(f"$\\sigma$ = {first.sigma:g}", fontsize=11)
        tidy(axes)
    panels[0].set_ylabel("certified accuracy")
    lines = {line.get_label(): line for axes in panels for line in axes.get_lines()}
    title = f"rule {rule}, 95 % Wilson bands"
    figure.legend(lines.values(), lines.keys(), loc="outside lower center", ncols=2, frameon=False, title=title)
    return figure


def paired_difference(
    first: Sequence[Certificate], second: Sequence[Certificate], radius: float
) -> tuple[float, float, float]:
    """How much more certified accuracy the second system has at a radius, on the same utterances.

    Args:
        first: Certificates of one rule.
        second: Of the same rule and the same utterances.
        radius: l2 norm, at least 0.

    Returns:
        The difference, in [-1, 1], and its 95 % interval over speakers (`speaker_interval_of_difference`): a difference
        is more than chance where 0 is outside. (NaN, NaN) with fewer than two speakers.

    Raises:
        ValueError: If rules or utterances differ, or there are no rows.
    """
    others = {row.utterance: row for row in second}
    if {row.utterance for row in first} != others.keys() or len(first) != len(second):
        raise ValueError(f"runs must be about the same utterances, got {len(first)} and {len(second)}")
    if len(rules := {row.rule for row in [*first, *second]}) != 1:
        raise ValueError(f"rows must be certificates of one rule, got {sorted(rules) or 'no rows'}")
    matched = [others[row.utterance] for row in first]
    gain = certified(matched, radius).astype(float) - certified(first, radius)
    return float(gain.mean()), *speaker_interval_of_difference(gain, [row.speaker for row in first])


def plot_comparison(folders: Sequence[str | Path], path: str | Path) -> None:
    """Draws the curves of certification runs into a PNG file.

    Args:
        folders: Of the runs; its end is named where two are of one system at one sigma.
        path: Of the file.
    """
    rows = [read_run(folder) for folder in folders]
    names = [system_name(read_config(folder) or {}) for folder in folders]
    ends = endings([(name, own[0].sigma) for name, own in zip(names, rows, strict=True)], folders)
    save(comparison_figure([(name + end, own) for name, end, own in zip(names, ends, rows, strict=True)]), path)


def _short(value: Any) -> str | None:
    """`checkpoints/dap-mini` as dap-mini, `{"class_path": "a.b.MeanFilter", ...}` as MeanFilter."""
    if isinstance(value, dict):
        return value["class_path"].rpartition(".")[2]
    if value is None:
        return None
    path = Path(value)
    return path.stem if path.suffix[1:].isalpha() else path.name  # the 25 of a folder mine-0.25 is no ending
