"""Tables of model inversion: beside Table 1 of Pizzi et al. 2023, and of several systems.

Brackets are 95 % intervals, where every speaker counts once: Wilson's of shares, Student's of mean distances.
"""

import shlex
from collections.abc import Iterable, Sequence
from math import sqrt
from pathlib import Path
from typing import Any

from scipy.stats import t

from voxcert.evaluation.inversion.row import InversionRow
from voxcert.evaluation.inversion.tables import summarize_inversions
from voxcert.evaluation.show.tables import percent, percent_with_interval, render_table

METHODS = ("standard", "sliding")
D_VECTOR = "d_vector"
USUAL = ("--checkpoint", "--config", "--experiments", "--num_speakers", "--output_dir")
PRINTED: dict[str, dict[str, tuple[float, float, float]]] = {
    "ones": {"standard": (0.43, 0.800, 0.0416), "sliding": (5.41, 0.696, 0.0663)},
    "zeros": {"standard": (0.65, 0.792, 0.0377), "sliding": (8.87, 0.720, 0.0682), "d_vector": (100, 0.84, 0.028)},
    "Gumbel": {"standard": (54.76, 0.797, 0.0562), "sliding": (89.83, 0.748, 0.0561)},
    "Laplace": {"standard": (54.33, 0.793, 0.0555), "sliding": (90.48, 0.752, 0.055)},
    "white noise": {"standard": (54.11, 0.798, 0.0549), "sliding": (88.31, 0.757, 0.0561)},
    "brown noise": {"standard": (5.84, 0.676, 0.0938), "sliding": (31.82, 0.681, 0.0679)},
    "speech": {"standard": (6.277, 0.751, 0.0768), "sliding": (22.73, 0.696, 0.0558)},
    "noise and speech": {"standard": (52.6, 0.779, 0.0673), "sliding": (90.26, 0.757, 0.0595)},
    "mean speech": {"standard": (33.55, 0.750, 0.0665), "sliding": (56.06, 0.707, 0.0713)},
    "noise and mean speech": {"standard": (45.89, 0.776, 0.0604), "sliding": (80.30, 0.757, 0.06)},
}
"""Start -> method -> accuracy in % of 462 speakers of TIMIT, mean and deviation of the distance of d-vectors."""


def beside_pizzi(rows: Sequence[InversionRow]) -> str:
    """A line for each start, with the paper's numbers; last one of what starts and ends at d-vectors.

    Args:
        rows: Of one run; experiments are named by start and method.
    """
    found = {one["experiment"]: one for one in summarize_inversions(rows)}
    starts = dict.fromkeys(name.rpartition(", ")[0] for name in found)
    lines = [["start"]]
    for method in METHODS:
        lines[0] += [f"{method}, paper: % / distance", f"{method}, here: %", "distance"]
    for start in starts:
        lines.append([start])
        for method in METHODS:
            lines[-1] += [_printed(start, method), *_cells(found.get(f"{start}, {method}"))]
    for start in starts:
        if one := found.get(f"{start}, {D_VECTOR}"):
            lines.append([f"d-vectors, from {start}", _printed(start, D_VECTOR), *_cells(one), "", "", ""])
    return render_table(lines)


def side_by_side(runs: Iterable[tuple[str, dict[str, Any], Sequence[InversionRow]]]) -> str:
    """A line for each run, a column for each of its experiments.

    Args:
        runs: Its name, its summary and its rows, all of the same experiments.

    Raises:
        ValueError: If the experiments differ.
    """
    lines: list[list[str]] = []
    for name, summary, rows in runs:
        found = summarize_inversions(rows)
        shown = [f"{one['experiment'].replace(D_VECTOR, 'd-vectors')}: %" for one in found]
        heading = ["network", "options", "speakers wrong, held out %", *shown, "speakers", "rows"]
        lines = lines or [heading]
        if heading != lines[0]:
            raise ValueError(f"runs must be of the same experiments, got {', '.join(shown)} of {name}")
        words = shlex.split(summary["command"])[2:]
        given = dict(zip(words[::2], words[1::2], strict=True))
        options = " ".join(f"{option} {value}" for option, value in given.items() if option not in USUAL)
        wrong = percent(summary["baselines"]["held_out"]["utterance_error"])
        lines.append([Path(given["--checkpoint"]).name, f"`{options}`" if options else "", wrong])
        lines[-1] += [*(_cells(one)[0] for one in found), str(found[0]["speakers"]), f"`{name}`"]
    return render_table(lines)


def _printed(start: str, method: str) -> str:
    cell = PRINTED.get(start, {}).get(method)
    return "" if cell is None else "{:g} / {:.2f} ± {:.2f}".format(*cell)


def _cells(one: dict[str, Any] | None) -> list[str]:
    if one is None:
        return ["", ""]
    share = percent_with_interval(one["accuracy"], *one["interval"])
    if one["distance"] is None:
        return [share, ""]
    mean, deviation, number = one["distance"], one["distance_deviation"], one["correct_speakers"]
    if number < 2:
        return [share, f"{mean:.2f} ± {deviation:.2f}"]
    half = t.ppf(0.975, number - 1) * deviation / sqrt(number - 1)  # the deviation is that of these speakers themselves
    return [share, f"{mean:.2f} ± {deviation:.2f} [{mean - half:.2f}, {mean + half:.2f}]"]
