"""Tables of attacks: beside what Yao et al. 2022 (SSED, Tables I to IV) print, and what systems withstand.

Intervals are over speakers, for recordings of one speaker are alike.
"""

from collections.abc import Callable, Iterable, Sequence
from statistics import fmean

from voxcert.evaluation.attack.robust_accuracy import breaking_norms
from voxcert.evaluation.attack.row import AttackRow
from voxcert.evaluation.attack.tables import summarize_attack
from voxcert.evaluation.metrics.detection import speaker_interval_of_mean, speaker_interval_of_share
from voxcert.evaluation.show.tables import percent, percent_with_interval, render_table, shown_radius, with_interval

PRINTED: dict[tuple[str, float | None], dict[str, tuple[float, float]]] = {
    ("fgsm", 0.001): {"csi": (5.42, 41.40), "osi": (15.61, 41.42)},
    ("fgsm", 0.002): {"csi": (10.03, 35.42), "osi": (21.5, 35.40)},
    ("fgsm", 0.005): {"csi": (14.91, 27.47), "osi": (21.34, 27.44)},
    ("fgsm", 0.01): {"csi": (16.09, 21.45), "osi": (16.45, 21.42)},
    ("bim", 0.001): {"csi": (63.68, 43.49), "osi": (77.9, 43.42)},
    ("bim", 0.002): {"csi": (90.23, 38.48), "osi": (95.9, 38.42)},
    ("bim", 0.005): {"csi": (99.39, 31.65), "osi": (99.79, 31.68)},
    ("carlini_wagner", None): {"csi": (52.88, 63.97), "osi": (93.66, 64.02)},
    ("universal", None): {"csi": (65.6, 38.56), "osi": (56.0, 33.66)},
    ("ssed", 0.01): {"csi": (45.4, 52.07), "osi": (74.8, 51.88)},
    ("ssed", 0.03): {"csi": (90.0, 43.19), "osi": (92.8, 43.1)},
    ("ssed", 0.05): {"csi": (97.3, 39.07), "osi": (98.0, 39.2)},
}
"""Attack and epsilon -> scenario -> TASR in % and SNR in dB, against a Fast ResNet-34."""

ABLATIONS: dict[str, dict[str, tuple[float, float]]] = {
    "no-saliency": {"csi": (95.1, 35.62), "osi": (96.7, 37.1)},
    "no-angular": {"csi": (96.8, 38.85), "osi": (96.9, 38.92)},
}
"""What a run's name has in it -> the same of its Tables III and IV, at `ABLATED_AT`."""
ABLATED_AT = 0.05

TRAINED_UNDER_NOISE = {0.0: 0.99, 0.01: 0.89, 0.05: 0.62, 0.1: 0.38, 0.25: 0.17}
"""The sigma in the training -> the share of clean recordings of 10 speakers that O'Reilly's network names rightly."""

OF_NOISE = "no noise", "norm "
"""How columns are headed where noise takes the place of an attack."""


def beside_ssed(runs: Iterable[tuple[str, str, Sequence[AttackRow]]]) -> str:
    """A line for each run, with the paper's number where it has one for this attack and epsilon.

    Args:
        runs: Its system, its name, and its rows, of one attack at one budget.
    """
    lines = [["encoder", "scenario", "attack", "epsilon", "paper: TASR % / SNR dB", "here: success %", "SNR dB"]]
    lines[0] += ["l2", "decided rightly before, after %", "utterances (speakers)", "gradients", "s", "rows"]
    for system, name, rows in runs:
        first, entry, speakers = rows[0], summarize_attack(rows), [row.speaker for row in rows]
        epsilon = first.attack_settings.get("epsilon")
        part = next((part for part in ABLATIONS if part in name), None)
        numbers = PRINTED.get((first.attack, epsilon), {})
        if part is not None:
            numbers = ABLATIONS[part] if epsilon == ABLATED_AT else {}
        beyond = name.startswith("transfer-") or "-any-" in name  # the paper has no transfer, and one target
        comparable = first.target is not None and not beyond
        printed = numbers.get(first.scenario) if comparable else None
        lines.append([system, first.scenario, first.attack + ("" if first.target is not None else ", untargeted")])
        lines[-1] += [_budget(rows) if epsilon is None else f"{epsilon:g}"]
        lines[-1] += ["" if printed is None else "{:g} / {:g}".format(*printed)]
        hits = [row.success for row in rows]
        success = sum(hits) / len(hits), *speaker_interval_of_share(hits, speakers)
        lines[-1] += [percent_with_interval(*success), _snr(rows), f"{entry['l2']:.2f}"]
        lines[-1] += [f"{percent(entry['accuracy_before'])}, {percent(entry['accuracy'])}"]
        lines[-1] += [f"{len(rows)} ({len(set(speakers))})", f"{entry['backwards']:.0f}"]
        lines[-1] += [f"{fmean(row.seconds for row in rows):.2g}", f"`{name}`"]
    return render_table(lines)


def withstood(runs: Iterable[tuple[str, str, Sequence[AttackRow]]]) -> str:
    """A line for each system that was attacked at several radii: the share that is right and stays so, over the radius.

    Args:
        runs: As for `beside_ssed`, but at the same radii each.

    Raises:
        ValueError: If the radii differ.
    """

    def right(rows: Sequence[AttackRow]) -> dict[float, dict[str, bool]]:
        norms = breaking_norms(rows)
        radii = [0.0, *sorted({row.radius for row in rows})]
        return {radius: {name: norm > radius for name, norm in norms.items()} for radius in radii}

    return render_table(_over_radii(runs, right, "no attack", ""))


def under_noise(runs: Iterable[tuple[str, str, Sequence[AttackRow]]]) -> str:
    """As `withstood`, the share that is right at each radius, whatever it is at others: more noise may do less.

    Args:
        runs: As for `withstood`, away from the speaker.
    """
    return render_table(_over_radii(runs, _right_under_noise, *OF_NOISE))


def trained_under_noise(runs: Iterable[tuple[str, str, Sequence[AttackRow]]]) -> str:
    """As `under_noise`, beside the share that O'Reilly's network names rightly, trained under as much noise.

    Args:
        runs: As for `under_noise`, of networks whose names end with the sigma of their training, if it had any.
    """
    lines = _over_radii(runs, _right_under_noise, *OF_NOISE)
    lines[0][1:1] = ["sigma in training", "paper, no noise"]
    for line in lines[1:]:
        ending = line[0].rpartition("-")[2]
        sigma = float(ending) if ending[0].isdigit() else 0.0
        line[1:1] = [f"{sigma:g}", percent(TRAINED_UNDER_NOISE[sigma])]
    return render_table(lines)


def _right_under_noise(rows: Sequence[AttackRow]) -> dict[float, dict[str, bool]]:
    found = {0.0: {row.utterance: row.clean == row.speaker for row in rows}}
    for row in sorted(rows, key=lambda row: row.radius):
        found.setdefault(row.radius, {})[row.utterance] = row.adversarial == row.speaker
    return found


def _over_radii(
    runs: Iterable[tuple[str, str, Sequence[AttackRow]]],
    right: Callable[[Sequence[AttackRow]], dict[float, dict[str, bool]]],
    without: str,
    before: str,
) -> list[list[str]]:
    """A line for each system: the share of utterances that are right at radius 0 (`without`) and at each radius."""
    lines: list[list[str]] = []
    for system, name, rows in runs:
        speaker, found = {row.utterance: row.speaker for row in rows}, right(rows)
        _, *radii = found
        heading = ["encoder", without, *(f"{before}{shown_radius(radius)}" for radius in radii)]
        heading += ["utterances (speakers)", "gradients", "rows"]
        lines = lines or [heading]
        if heading != lines[0]:
            raise ValueError(f"runs must be at the same radii, got {radii} of {name}")
        lines.append([system])
        for own in found.values():
            hits = [own[utterance] for utterance in speaker]
            share = sum(hits) / len(hits), *speaker_interval_of_share(hits, list(speaker.values()))
            lines[-1].append(percent_with_interval(*share))
        lines[-1] += [f"{len(speaker)} ({len(set(speaker.values()))})"]
        lines[-1] += [f"{summarize_attack(rows)['backwards']:g}", f"`{name}`"]
    return lines


def _snr(rows: Sequence[AttackRow]) -> str:
    """The mean SNR in dB, with its interval, of the recordings to which something was added."""
    added = [row for row in rows if row.snr_db is not None]
    if not added:
        return "-"
    values = [row.snr_db for row in added]
    low, high = speaker_interval_of_mean(values, [row.speaker for row in added])
    return with_interval(fmean(values), low, high, decimals=1)


def _budget(rows: Sequence[AttackRow]) -> str:
    """The largest sample of what is added to all; nothing where each recording has its own."""
    largest = {f"{row.linf:.1g}" for row in rows}
    return largest.pop() if len(largest) == 1 else ""
