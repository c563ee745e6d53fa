"""Attack runs beside certification runs of one model: who was enrolled, one picture, and whether a proof was broken.

A certificate and an attack speak of the same thing only if the encoder and the enrolled speakers are the same.
"""

import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from voxcert.evaluation.attack_report import ATTACK_NOTE, attack_table, smoothing_name
from voxcert.evaluation.attack_rows import AttackRow, read_attacks
from voxcert.evaluation.report import by_rule, is_guarantee
from voxcert.evaluation.robust_accuracy import broken_certificates
from voxcert.evaluation.robust_plots import robust_figure
from voxcert.evaluation.run_folder import read_config, read_prototypes, read_run
from voxcert.smoothing.certificate import Certificate

ROBUST_PLOT = "robust_accuracy.png"
JOINT_PLOT = "certified_empirical.png"
Folder = str | Path


def is_attack_run(folder: Folder) -> bool:
    """Whether a folder is that of an attack run; ValueError if its config cannot be read."""
    return "attack" in (read_config(folder) or {})


def certified_speakers(folder: Folder, encoder_id: str) -> tuple[Tensor, list[str]]:
    """Prototypes (speakers, dim) and names as a certification run enrolled them.

    Args:
        folder: Of the run.
        encoder_id: Hash of the encoder that is to be attacked.

    Raises:
        ValueError: If the folder is no such run, the encoder is another, or noise did not enter at the waveform.
    """
    _check_certificates(folder, read_run(folder), encoder_id)
    found = read_prototypes(folder)
    if found is None:
        raise ValueError(f"certified must be the folder of a certification run, got {folder} without enrolled speakers")
    return found


def certified_radii(folder: Folder, decision: str) -> dict[str, float]:
    """Radius of every utterance that a run certified for its speaker.

    Args:
        folder: Of the run.
        decision: `vote` takes the rule of that name, `mean` the run's first sound rule for embeddings.

    Raises:
        ValueError: If the run has no such rule.
    """
    rules = by_rule(read_run(folder))
    fitting = [rule for rule in rules if is_guarantee(rule) and (rule == "vote") == (decision == "vote")]
    if not fitting:
        have = ", ".join(rules)
        raise ValueError(f"certified must have a sound rule for the decision {decision}, got {folder} with {have}")
    return {row.utterance: row.radius for row in rules[fitting[0]] if row.correct and row.abstained is None}


def plot_runs(attacks: Sequence[Folder], certified: Sequence[Folder], path: Folder) -> None:
    """Draws the curves of any number of runs into a PNG file.

    Args:
        attacks: Folders of attack runs, at least one.
        certified: Folders of certification runs of the same model.
        path: Of the file.

    Raises:
        ValueError: If a certified encoder is not the one that was attacked, or noise did not enter at the waveform.
            Other speakers or utterances are a warning.
    """
    attacked = [_rows(folder) for folder in attacks]
    proved = [read_run(folder) for folder in certified]
    for folder, certificates in zip(certified, proved, strict=True):
        for other, rows in zip(attacks, attacked, strict=True):
            _check_certificates(folder, certificates, rows[0].encoder)
            _warn_of_differences(other, rows, folder, certificates)
    several = len({rows[0].encoder for rows in attacked}) > 1
    figure = robust_figure(
        [
            (f"{rows[0].attack}, {smoothing_name(rows[0])}" + (f", {rows[0].encoder[:8]}" if several else ""), rows)
            for rows in attacked
        ],
        [(f"smoothed {rows[0].sigma:g}", rows) for rows in proved],
    )
    figure.savefig(path, dpi=150)


def redraw(attacks: Sequence[Folder], certified: Sequence[Folder]) -> Path:
    """Draws runs again: one attack run alone as it was drawn first, or all of them on one picture.

    Args:
        attacks: Folders of attack runs, at least one.
        certified: Folders of certification runs.

    Returns:
        The picture, in the folder of the first attack.
    """
    folder = Path(attacks[0])
    if len(attacks) + len(certified) > 1:
        path = folder / JOINT_PLOT
    else:
        path, beside = folder / ROBUST_PLOT, read_config(folder).get("certified")
        certified = [beside] if beside and Path(beside).is_dir() else []
    plot_runs(attacks, certified, path)
    return path


def describe_attacks(attacks: Sequence[Folder], certified: Sequence[Folder]) -> str:
    """The table of attack runs, and what they mean for the certificates of the same systems.

    Args:
        attacks: Folders of attack runs.
        certified: Folders of certification runs.
    """
    runs = {folder: _rows(folder) for folder in attacks}
    lines = [attack_table(runs.values()), ATTACK_NOTE]
    for (folder, rows), run in ((pair, run) for pair in runs.items() for run in certified):
        for rule, own in by_rule(read_run(run)).items():
            decision = "vote" if rule == "vote" else "mean"
            if is_guarantee(rule) and (own[0].sigma, decision) == (rows[0].sigma, rows[0].decision):
                broken, both = broken_certificates(rows, own), _utterances(own) & _utterances(rows)
                names = f": {', '.join(one.utterance for one in broken)}" if broken else ""
                lines.append(f"{folder} broke {len(broken)} of {len(both)} certificates of {run} ({rule}){names}.")
    return "\n\n".join(lines)


def _rows(folder: Folder) -> list[AttackRow]:
    rows = read_attacks(folder)
    if not rows:
        raise ValueError(f"runs must be folders with rows, got the attack run {folder} without any")
    return rows


def _check_certificates(folder: Folder, rows: Sequence[Certificate], encoder_id: str) -> None:
    if rows[0].encoder != encoder_id:
        raise ValueError(
            f"certificates and attacks must be of one encoder, got {rows[0].encoder!r} certified in {folder} and "
            f"{encoder_id!r} attacked"
        )
    if rows[0].noise_at != "waveform":
        raise ValueError(
            f"certificates must be about waveforms to stand beside attacks on them, got those of the "
            f"{rows[0].noise_at} in {folder}"
        )


def _warn_of_differences(
    folder: Folder, rows: Sequence[AttackRow], certified: Folder, certificates: Sequence[Certificate]
) -> None:
    ours, theirs = read_prototypes(folder), read_prototypes(certified)
    if theirs is None or ours[1] != theirs[1] or not torch.equal(ours[0], theirs[0]):
        differ = "enrolled speakers (the option certified of voxcert attack takes those that were certified)"
    elif rows[0].within is None and _utterances(rows) != _utterances(certificates):
        differ = "utterances"
    else:
        return
    warnings.warn(f"{folder} and {certified} are about different {differ}", stacklevel=3)


def _utterances(rows: Sequence[AttackRow | Certificate]) -> set[str]:
    return {row.utterance for row in rows}
