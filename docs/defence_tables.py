"""Tables of defences beside Tables 1 to 3 of the TDAP paper (Chen et al. 2024).

Intervals are over speakers. The paper's numbers are about 1,000 trials of VoxCeleb1-O and an ECAPA-TDNN with C = 512.
"""

from collections.abc import Sequence
from itertools import chain
from math import nan
from typing import Any

import numpy as np

from voxcert.evaluation.defence.row import DefenceRow
from voxcert.evaluation.defence.settings import GENUINE
from voxcert.evaluation.defence.tables import summarize_defences
from voxcert.evaluation.metrics.detection import (
    FEW_SPEAKERS,
    equal_error_rate,
    speaker_interval,
    speaker_interval_of_mean,
)
from voxcert.evaluation.metrics.speech_quality import csqi
from voxcert.evaluation.show.tables import percent_with_interval, render_table, with_interval

CONDITIONS = (GENUINE, "PGD-l2", "PGD-linf")
ERROR_RATES: dict[str, tuple[float, float, float]] = {
    "none": (0.813, 98.780, 99.213),
    "median": (25.813, 29.268, 30.285),
    "mean": (1.220, 96.063, 97.561),
    "Gaussian": (4.331, 26.829, 27.362),
    "noise 0.002": (0.984, 26.543, 22.947),
    "noise 0.005": (1.220, 4.211, 4.115),
    "noise 0.015": (2.846, 4.131, 3.740),
    "noise 0.02": (4.134, 4.065, 4.472),
    "noise 0.05": (9.553, 10.236, 10.236),
    "DAP": (3.469, 3.992, 4.082),
    "TDAP": (1.016, 3.862, 3.346),
}
"""Defence -> equal error rate in % under each of the conditions (Table 1)."""
QUALITY: dict[str, dict[str, tuple[float | None, ...]]] = {
    "PGD-l2": {
        "none": (0.994, 4.301, 38.289, None),
        "median": (0.630, 1.139, 1.049, 1.993),
        "noise 0.015": (0.812, 1.243, 8.548, 10.165),
        "DAP": (0.746, 1.144, 5.860, 7.441),
        "TDAP": (0.930, 2.962, 10.239, 13.585),
    },
    "PGD-linf": {
        "none": (0.994, 4.290, 38.059, None),
        "median": (0.630, 1.138, -14.741, -9.044),
        "noise 0.015": (0.398, 1.040, -11.476, -9.663),
        "DAP": (0.746, 1.148, 5.667, 7.252),
        "TDAP": (0.931, 2.960, 10.271, 13.749),
    },
}
"""Attack -> defence -> STOI, WB-PESQ, SI-SDR in dB and CSQI (Tables 2 and 3); its CSQI tells the size of the noise."""
MEASURES = {"stoi": "STOI", "pesq": "WB-PESQ", "si_sdr_db": "SI-SDR dB", "csqi": "CSQI"}


def beside_tdap(runs: Sequence[Sequence[DefenceRow]]) -> str:
    """A line for each defence: equal error rates, the paper's and ours, by one who knows the defence too.

    Args:
        runs: Rows of comparisons of the same trials; what several have is taken from the first.
    """
    found = _found(runs)
    columns = [(condition, adaptive) for condition in CONDITIONS for adaptive in (False, True)]
    columns = [column for column in columns if any(key[1:] == column for key in found)]
    lines = [["defence"]]
    for condition, adaptive in columns:
        lines[0] += [f"{condition}, adaptive: %"] if adaptive else [f"{condition}, paper: %", "here: %"]
    for defence in dict.fromkeys(name for name, *_ in found):
        printed = dict(zip(CONDITIONS, ERROR_RATES.get(defence, ("", "", "")), strict=True))
        lines.append([defence])
        for condition, adaptive in columns:
            lines[-1] += ([] if adaptive else [f"{printed[condition]}"]) + [_rate(found, defence, condition, adaptive)]
    return render_table(lines)


def quality_beside_tdap(attack: str, runs: Sequence[Sequence[DefenceRow]]) -> str:
    """A line for each defence: what an attack that does not know it leaves of the speech, the paper's and ours.

    Args:
        attack: Whose waveforms were purified.
        runs: As for `beside_tdap`.
    """
    own = [row for row in _together(runs) if (row.condition, row.adaptive, row.failed) == (attack, False, None)]
    lines = [["defence", *(f"{name}, {whose}" for name in MEASURES.values() for whose in ("paper", "here"))]]
    for one in summarize_defences(own):
        printed = QUALITY[attack].get(one["defence"], (None,) * len(MEASURES))
        lines.append([one["defence"]])
        rows = [row for row in own if row.defence == one["defence"]]
        for name, number in zip(MEASURES, printed, strict=True):
            shown = "-" if one[name] is None else with_interval(one[name], *_interval_of(name, rows), decimals=3)
            lines[-1] += ["" if number is None else f"{number:g}", shown]
    return render_table(lines)


def by_draws(defence: str, attack: str, runs: Sequence[tuple[str, int, Sequence[DefenceRow]]]) -> str:
    """A line for each number of draws that an attack takes of a random defence for a gradient, on the same trials.

    Args:
        defence: The random one.
        attack: Which of the attacks.
        runs: Name, draws for each gradient, and rows of comparisons; only trials that all of them have are shown.

    Raises:
        ValueError: If no trial is in all of them.
    """
    about = (defence, attack, True)
    attacked = [
        {(row.utterance, row.claim): row for row in rows if (row.defence, row.condition, row.adaptive) == about}
        for *_, rows in runs
    ]
    common = set.intersection(*map(set, attacked))
    if not common:
        raise ValueError(f"runs must share trials of {attack} on {defence}, got {', '.join(name for name, *_ in runs)}")
    lines = [["draws for each gradient", f"{defence}, {attack}, adaptive: %", "trials (speakers)", "rows"]]
    for (name, draws, _), own in zip(runs, attacked, strict=True):
        shared = [row for key, row in own.items() if key in common]
        (one,) = summarize_defences(shared)
        trials = f"{len(shared)} ({len({row.speaker for row in shared})})"
        lines.append([f"{draws}", _cell(one), trials, f"`{name}`"])
    return render_table(lines)


def summarize_together(runs: Sequence[Sequence[DefenceRow]]) -> list[dict[str, Any]]:
    """The summary of comparisons of the same trials as of one; what several have is taken from the first."""
    return summarize_defences(_together(runs))


def _together(runs: Sequence[Sequence[DefenceRow]]) -> list[DefenceRow]:
    rows: dict[tuple[Any, ...], DefenceRow] = {}
    for row in chain.from_iterable(runs):
        rows.setdefault(row.key, row)
    return list(rows.values())


def _interval_of(name: str, rows: Sequence[DefenceRow]) -> tuple[float, float]:
    """The interval over speakers of a measure of the speech; NaN with one speaker."""
    if name == "csqi":
        return _interval_of_csqi(rows)
    measured = [row for row in rows if getattr(row, name) is not None]
    if not measured:
        return nan, nan
    return speaker_interval_of_mean([getattr(row, name) for row in measured], [row.speaker for row in measured])


def _interval_of_csqi(rows: Sequence[DefenceRow]) -> tuple[float, float]:
    """NaN where resampled speakers would spread too little: of few, or where all trials err or none does."""
    parts = np.array([[row.stoi, row.pesq, row.si_sdr_db] for row in rows], dtype=float)  # NaN where not measured
    scores, genuine = np.array([row.score for row in rows]), np.array([row.target for row in rows])
    speakers = [row.speaker for row in rows]

    def index(drawn: np.ndarray) -> float:
        return csqi(*np.nanmean(parts[drawn], axis=0), errors(drawn))

    def errors(drawn: np.ndarray) -> float:
        kinds = genuine[drawn]
        return equal_error_rate(scores[drawn][kinds], scores[drawn][~kinds])[0]

    if len(set(speakers)) < FEW_SPEAKERS or errors(np.arange(len(rows))) in (0.0, 1.0):
        return nan, nan
    return speaker_interval(index, speakers)


def _found(runs: Sequence[Sequence[DefenceRow]]) -> dict[tuple[str, str, bool], dict[str, Any]]:
    return {(one["defence"], one["condition"], one["adaptive"]): one for one in summarize_together(runs)}


def _rate(found: dict[tuple[str, str, bool], dict[str, Any]], defence: str, condition: str, adaptive: bool) -> str:
    one = found.get((defence, condition, adaptive))
    return "" if one is None else _cell(one)


def _cell(one: dict[str, Any]) -> str:
    failed = f", {one['num_failed']} failed" if one["num_failed"] else ""
    return percent_with_interval(one["error_rate"], one["low"], one["high"]) + failed
