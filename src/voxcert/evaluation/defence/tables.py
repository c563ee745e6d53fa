"""From the rows of a comparison of defences to tables: error rates, and what is left of the speech.

The columns are those of Tables 1 to 3 of the TDAP paper (Chen et al. 2024), with intervals and adaptive attacks.
"""

from collections import Counter
from collections.abc import Sequence
from math import isnan
from typing import Any

from voxcert.evaluation.defence.row import DefenceRow
from voxcert.evaluation.defence.settings import GENUINE
from voxcert.evaluation.metrics.detection import equal_error_rate, rate_over_speakers
from voxcert.evaluation.metrics.speech_quality import METRICS, csqi, mean_quality
from voxcert.evaluation.show.tables import percent_with_interval, render_table

DEFENCE_NOTE = (
    "EER in % with its 95 % interval over speakers (one speaker has none). genuine: with the noise of the settings. An "
    "attack in its plain column was run on the encoder without a defence and meets the defence unknowing; in the "
    "adaptive column it was run on the defended system. Only the larger of the two says anything about robustness."
)
QUALITY_NOTE = (
    "Means over the trials, purified against clean; SI-SDR and SNR in dB. CSQI, (STOI + PESQ + SI-SDR) x (1 - EER), is "
    "nearly all SI-SDR, and where that is negative it rewards errors."
)
HEADINGS = {"stoi": "STOI", "pesq": "WB-PESQ", "si_sdr_db": "SI-SDR", "snr_db": "SNR", "csqi": "CSQI"}


def summarize_defences(rows: Sequence[DefenceRow]) -> list[dict[str, Any]]:
    """Summarises the trials of each defence under each condition.

    Args:
        rows: Of one comparison.

    Returns:
        In order of appearance `defence`, `condition`, `adaptive`, `text`, `system`, `num_trials`, `num_failed`,
        `error_rate` with its interval over speakers `low`, `high` (None without trials of either kind, the interval
        with one speaker too), means of the quality metrics and `csqi` (None where nothing could be measured),
        `unmeasured` (metric -> reason -> count), mean `l2`, `linf`.
    """
    groups: dict[tuple[str, str, bool], list[DefenceRow]] = {}
    for row in rows:
        groups.setdefault((row.defence, row.condition, row.adaptive), []).append(row)
    return [_summarize(own) for own in groups.values()]


def _summarize(rows: Sequence[DefenceRow]) -> dict[str, Any]:
    first, valid = rows[0], [row for row in rows if row.failed is None]
    means = mean_quality([row.quality for row in valid])
    error = _error_rate(valid)
    index = float("nan") if error["error_rate"] is None else csqi(*list(means.values())[:3], error["error_rate"])
    return {
        "defence": first.defence,
        "condition": first.condition,
        "adaptive": first.adaptive,
        "text": first.text,
        "system": first.system,
        "num_trials": len(rows),
        "num_failed": len(rows) - len(valid),
        **error,
        **{name: None if isnan(value) else value for name, value in (means | {"csqi": index}).items()},
        "unmeasured": {
            name: dict(Counter(row.reasons[name] for row in valid if name in row.reasons)) for name in METRICS
        },
        "l2": sum(row.l2 for row in valid) / max(len(valid), 1),
        "linf": sum(row.linf for row in valid) / max(len(valid), 1),
    }


def _error_rate(rows: Sequence[DefenceRow]) -> dict[str, float | None]:
    scores, genuine, speakers = ([getattr(row, name) for row in rows] for name in ("score", "target", "speaker"))
    rates = rate_over_speakers(lambda *kinds: equal_error_rate(*kinds)[0], scores, genuine, speakers)
    return dict(zip(("error_rate", "low", "high"), (None if isnan(rate) else rate for rate in rates), strict=True))


def render_defences(entries: Sequence[dict[str, Any]]) -> str:
    """Renders a summary as Markdown: error rates, what looks wrong about the attacks, quality under each condition.

    Args:
        entries: What `summarize_defences` returns.
    """
    found = {(one["defence"], one["condition"], one["adaptive"]): one for one in entries}
    names, conditions = ([*dict.fromkeys(one[key] for one in entries)] for key in ("defence", "condition"))
    columns = [(condition, adaptive) for condition in conditions for adaptive in (False, True)]
    columns = [column for column in columns if any((name, *column) in found for name in names)]
    lines = [["defence", *(f"{condition}{', adaptive' * adaptive}" for condition, adaptive in columns)]]
    lines += [[name, *(_rate(found.get((name, *column))) for column in columns)] for name in names]
    parts = [render_table(lines), DEFENCE_NOTE, *_failures(entries), *_warnings(found, names, conditions)]
    for condition in conditions:
        own = [found[name, condition, False] for name in names if (name, condition, False) in found]
        parts += [f"Quality, {condition}:", _quality_table(own)]
    return "\n\n".join([*parts, QUALITY_NOTE])


def _failures(entries: Sequence[dict[str, Any]]) -> list[str]:
    """What the rates say nothing about."""
    failed = [
        f"{one['defence']} ({one['condition']}{', adaptive' * one['adaptive']}) {one['num_failed']} of "
        f"{one['num_trials']} trials"
        for one in entries
        if one["num_failed"]
    ]
    return [f"Failed, and in no rate: {'; '.join(failed)}. Their rows say why."] if failed else []


def _warnings(found: dict[Any, dict[str, Any]], names: list[str], conditions: list[str]) -> list[str]:
    """Adaptive attacks that did less than those that know nothing: their gradients cannot be trusted."""
    weak = []
    for name in names:
        for condition in conditions:
            plain, adaptive = (found.get((name, condition, knows), {}).get("error_rate") for knows in (False, True))
            if plain is not None and adaptive is not None and adaptive < plain:
                weak.append(f"{name} ({condition})")
    if not weak:
        return []
    return [f"The adaptive attack did less than the one that knows nothing against {', '.join(weak)}: it is too weak."]


def _quality_table(entries: Sequence[dict[str, Any]]) -> str:
    lines = [["defence", "EER %", *HEADINGS.values(), "not measured"]]
    for one in entries:
        missing = [
            f"{HEADINGS[name]} {sum(reasons.values())}" for name, reasons in one["unmeasured"].items() if reasons
        ]
        values = ["-" if one[name] is None else f"{one[name]:.3f}" for name in HEADINGS]
        lines.append([one["defence"], _rate(one).partition(" ")[0], *values, ", ".join(missing) or "-"])
    return render_table(lines)


def _rate(entry: dict[str, Any] | None) -> str:
    return "-" if entry is None else percent_with_interval(entry["error_rate"], entry["low"], entry["high"])


def by_condition(entries: Sequence[dict[str, Any]]) -> dict[tuple[str, bool], list[dict[str, Any]]]:
    """Groups a summary by condition and by whether the attack knew the defence, genuine trials first."""
    groups: dict[tuple[str, bool], list[dict[str, Any]]] = {(GENUINE, False): []}
    for one in entries:
        groups.setdefault((one["condition"], one["adaptive"]), []).append(one)
    return {key: groups[key] for key in sorted(groups, key=lambda key: (key[0] != GENUINE, key))}
