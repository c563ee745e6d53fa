"""Tables of attacks: beside what Yao et al. 2022 (SSED, Tables I and II) print, and accuracy over radii.

Intervals are over speakers, for recordings of one speaker are alike.
"""

from collections.abc import Iterable, Sequence

from voxcert.evaluation.attack.robust_accuracy import breaking_norms
from voxcert.evaluation.attack.row import AttackRow
from voxcert.evaluation.attack.tables import summarize_attack
from voxcert.evaluation.metrics.detection import speaker_interval_of_mean
from voxcert.evaluation.show.tables import percent, percent_with_interval, render_table
from voxcert.smoothing.curves import wilson_interval

Printed = dict[tuple[str, float | None], tuple[float, float]]
"""Attack and epsilon -> TASR in % and SNR in dB, against a Fast ResNet-34."""
CLOSED_SET: Printed = {
    ("fgsm", 0.001): (5.42, 41.40),
    ("fgsm", 0.002): (10.03, 35.42),
    ("fgsm", 0.005): (14.91, 27.47),
    ("fgsm", 0.01): (16.09, 21.45),
    ("bim", 0.001): (63.68, 43.49),
    ("bim", 0.002): (90.23, 38.48),
    ("bim", 0.005): (99.39, 31.65),
    ("universal", None): (65.6, 38.56),
    ("ssed", 0.01): (45.4, 52.07),
}
OPEN_SET: Printed = {
    ("fgsm", 0.001): (15.61, 41.42),
    ("fgsm", 0.002): (21.5, 35.40),
    ("fgsm", 0.005): (21.34, 27.44),
    ("fgsm", 0.01): (16.45, 21.42),
    ("bim", 0.001): (77.9, 43.42),
    ("bim", 0.002): (95.9, 38.42),
    ("bim", 0.005): (99.79, 31.68),
    ("universal", None): (56.0, 33.66),
    ("ssed", 0.01): (74.8, 51.88),
}
PRINTED = {"csi": CLOSED_SET, "osi": OPEN_SET, "sv": {}}


def share_over_speakers(hits: Sequence[bool], speakers: Sequence[str]) -> tuple[float, float, float]:
    """The share of hits and its 95 % interval: by the bootstrap over speakers.

    Where all are hits or none is all resamples agree; then it is Wilson's, with each speaker as one trial.
    """
    share, count = sum(hits) / len(hits), len(set(speakers))
    if share in (0, 1):
        return share, *wilson_interval(share * count, count)
    return share, *speaker_interval_of_mean(hits, speakers)


def beside_ssed(runs: Iterable[tuple[str, str, Sequence[AttackRow]]]) -> str:
    """A line for each run, with the paper's number where it has one for this attack and epsilon.

    Args:
        runs: Its system, its name, and its rows, of one attack at one budget.
    """
    lines = [["encoder", "scenario", "attack", "epsilon", "paper: TASR % / SNR dB", "here: success %", "SNR dB"]]
    lines[0] += ["decided rightly before, after %", "utterances (speakers)", "gradients", "rows"]
    for system, name, rows in runs:
        first, entry, speakers = rows[0], summarize_attack(rows), [row.speaker for row in rows]
        epsilon = first.attack_settings.get("epsilon")
        printed = PRINTED[first.scenario].get((first.attack, epsilon)) if first.target is not None else None
        lines.append([system, first.scenario, first.attack + ("" if first.target is not None else ", untargeted")])
        lines[-1] += [f"{max(row.linf for row in rows):.1g}" if epsilon is None else f"{epsilon:g}"]
        lines[-1] += ["" if printed is None else "{:g} / {:g}".format(*printed)]
        success = share_over_speakers([row.success for row in rows], speakers)
        lines[-1] += [percent_with_interval(*success), f"{entry['snr_db']:.1f}"]
        lines[-1] += [f"{percent(entry['accuracy_before'])}, {percent(entry['accuracy'])}"]
        lines[-1] += [f"{len(rows)} ({len(set(speakers))})", f"{entry['backwards']:g}", f"`{name}`"]
    return render_table(lines)


def accuracy_under_attack(runs: Iterable[tuple[str, Sequence[AttackRow]]], radii: Sequence[float]) -> str:
    """A line for each system: the share of recordings that are right, and that no attack up to a radius could turn.

    Args:
        runs: The system, and its rows of an attack away from the speaker that was run at each of the radii.
        radii: l2 norms.
    """
    lines = [["encoder", "utterances (speakers)", "no attack", *(f"{radius:g}" for radius in radii)]]
    for system, rows in runs:
        breaking, owner = breaking_norms(rows), {row.utterance: row.speaker for row in rows}
        speakers = [owner[utterance] for utterance in breaking]
        lines.append([system, f"{len(breaking)} ({len(set(speakers))})"])
        for radius in (0.0, *radii):
            share, low, high = share_over_speakers([norm > radius for norm in breaking.values()], speakers)
            lines[-1].append(f"{share:.2f} [{low:.2f}, {high:.2f}]")
    return render_table(lines)
