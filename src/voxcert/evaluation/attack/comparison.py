"""Attack runs beside certification runs of one model: one table, one picture, and whether a proof was broken."""

import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from voxcert.evaluation.attack.certified import Folder, check_certificates
from voxcert.evaluation.attack.certified_trials import ATTACKED_TRIALS_NOTE, attacked_trials, attacked_trials_table
from voxcert.evaluation.attack.figures import robust_figure
from voxcert.evaluation.attack.robust_accuracy import attacked_certificates, broken_certificates
from voxcert.evaluation.attack.row import AttackRow
from voxcert.evaluation.attack.tables import ATTACK_NOTE, attack_table, smoothing_name
from voxcert.evaluation.attack.transfer import TRANSFER_NOTE, transfer_table
from voxcert.evaluation.certification.folder import is_verification, read_prototypes, read_run, read_trials_of_run
from voxcert.evaluation.certification.tables import by_rule, is_guarantee
from voxcert.evaluation.run.folder import ROWS, endings, read_config
from voxcert.evaluation.show.figures import save
from voxcert.rows import read_rows
from voxcert.smoothing.certificate import Certificate
from voxcert.smoothing.certified_score import CertifiedScore

ROBUST_PLOT = "robust_accuracy.png"
JOINT_PLOT = "certified_empirical.png"
OTHER_SPEAKERS = "other enrolled speakers (the option certified of voxcert attack takes those that were certified)"
SAME_VECTOR = 1e-5
"""Numbers of one enrolment differ by no more where batches had another size."""


def is_attack_run(folder: Folder) -> bool:
    """Whether a folder is that of an attack run; ValueError if its config cannot be read."""
    return "attack" in (read_config(folder) or {})


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
    attacked = [read_attacks(folder) for folder in attacks]
    proved = [read_run(folder) for folder in certified]
    for folder, certificates in zip(certified, proved, strict=True):
        for other, rows in zip(attacks, attacked, strict=True):
            check_certificates(folder, certificates, rows[0].encoder)
            _warn_of_differences(other, rows, folder, certificates)
    several = len({rows[0].encoder for rows in attacked}) > 1
    names = [
        f"{rows[0].attack}, {smoothing_name(rows[0])}" + (f", {rows[0].encoder[:8]}" if several else "")
        for rows in attacked
    ]
    proofs = [f"smoothed {rows[0].sigma:g}" for rows in proved]
    figure = robust_figure(
        [(name + end, rows) for name, end, rows in zip(names, endings(names, attacks), attacked, strict=True)],
        [(name + end, rows) for name, end, rows in zip(proofs, endings(proofs, certified), proved, strict=True)],
    )
    save(figure, path)


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
        path, config = folder / ROBUST_PLOT, read_config(folder)
        beside = config.get("certified") if config.get("scenario", "csi") == "csi" else None
        certified = [beside] if beside and Path(beside).is_dir() and not is_verification(beside) else []
    plot_runs(attacks, certified, path)
    return path


def fitting(attacks: Sequence[Folder], certified: Sequence[Folder]) -> list[tuple[list[Folder], list[Folder]]]:
    """Which attack runs go on one picture, and which certification runs beside them.

    Args:
        attacks: Folders of attack runs, of any encoders.
        certified: Folders of certification runs, likewise.

    Returns:
        Attacks on one encoder with its certificates, if noise entered at waveforms; without any of those, all attacks.
    """
    first = {folder: read_run(folder)[0] for folder in certified}
    usable = {folder: row.encoder for folder, row in first.items() if row.noise_at == "waveform"}
    attacked = {folder: read_attacks(folder)[0].encoder for folder in attacks}
    if not set(usable.values()) & set(attacked.values()):
        return [(list(attacks), [])]
    return [
        ([one for one in attacks if attacked[one] == encoder], [one for one in usable if usable[one] == encoder])
        for encoder in dict.fromkeys(attacked.values())
    ]


def describe_attacks(attacks: Sequence[Folder], certified: Sequence[Folder]) -> str:
    """The table of attack runs, and what they mean for the certificates of the same systems.

    Args:
        attacks: Folders of attack runs.
        certified: Folders of certification runs, of names or of claims.
    """
    runs = {folder: read_attacks(folder) for folder in attacks}
    lines = [attack_table(runs.values()), ATTACK_NOTE]
    if judged := [rows for rows in runs.values() if rows[0].judge is not None]:
        lines += [transfer_table(judged), TRANSFER_NOTE]
    of_names = [run for run in certified if not is_verification(run)]
    lines += [line for folder, rows in runs.items() for run in of_names for line in _broken(folder, rows, run)]
    lines += [line for run in certified if is_verification(run) for line in _turned(attacks, run)]
    return "\n\n".join(lines)


def attacked_claims(attacks: Sequence[Folder], certified: Folder, proof: CertifiedScore) -> tuple[list[AttackRow], int]:
    """Attacks on claims that a verification run certified: those whose claim is the very vector that it enrolled.

    Args:
        attacks: Folders of attack runs.
        certified: Folder of the verification run.
        proof: One of its rows: attacks on another encoder, or at another sigma, are about none of them.

    Returns:
        Rows of the scenario `sv`, and how many more there are whose claim is enrolled there as another vector, about
        which nothing was certified.
    """
    enrolled, found, others = _enrolled(certified), [], 0
    for folder in attacks:
        own = _enrolled(folder)
        for row in read_attacks(folder):
            if (row.scenario, row.encoder, row.sigma) == ("sv", proof.encoder, proof.sigma) and row.claim in enrolled:
                is_same = torch.allclose(own[row.claim], enrolled[row.claim], rtol=0, atol=SAME_VECTOR)
                found += [row] if is_same else []
                others += not is_same
    return found, others


def same_speakers(one: Folder, other: Folder) -> bool:
    """Whether two runs enrolled the same vectors, so that they are about the same system if the encoder is the same."""
    ours, theirs = read_prototypes(one), read_prototypes(other)
    return ours is not None and theirs is not None and ours[1] == theirs[1] and torch.equal(ours[0], theirs[0])


def _broken(folder: Folder, rows: Sequence[AttackRow], certified: Folder) -> list[str]:
    """What an attack run means for each sound rule of a certification run of the same classifier."""
    rules = by_rule(read_run(certified))
    fitting = {rule: own for rule, own in rules.items() if is_guarantee(rule) and is_about(own[0], rows[0])}
    if fitting and not same_speakers(folder, certified):
        return [f"{folder} says nothing about the certificates of {certified}, which has {OTHER_SPEAKERS}."]
    lines = []
    for rule, own in fitting.items():
        tried, broken = attacked_certificates(rows, own), broken_certificates(rows, own)
        names, about = ", ".join(one.utterance for one in broken), f"of {certified} ({rule})"
        if tried:
            said = f"broke {len(broken)} of the {len(tried)} certificates {about} that it attacked inside their radius"
        else:
            said = f"says nothing about the certificates {about}: none was attacked inside, with a right answer before"
        lines.append(f"{folder} {said}{f': {names}' if names else ''}.")
    return lines


def _turned(attacks: Sequence[Folder], certified: Folder) -> list[str]:
    """What attacks on claims mean for a verification run; nothing if none is about its claims."""
    trials, about = read_trials_of_run(certified), f"Attacks on claims beside {certified}"
    rows, others = attacked_claims(attacks, certified, trials[0])
    if trials[0].open_set:
        return [f"{about}: it is about an open set, of which they say nothing."] if rows or others else []
    compared = attacked_trials(trials, rows)
    lines = [about, attacked_trials_table(compared), ATTACKED_TRIALS_NOTE] if compared else []
    return lines + ([f"{about}: {others} are about {OTHER_SPEAKERS}."] if others else [])


def is_about(certificate: Certificate, row: AttackRow) -> bool:
    """Whether an attack was on the classifier that a certificate is about: its encoder, its noise, its way to decide.

    Attacks write waveforms and smooth there, so none is about certificates whose noise is elsewhere.
    """
    if certificate.noise_at != "waveform" or row.scenario != "csi":
        return False
    decision = "vote" if certificate.rule == "vote" else "mean"
    return (certificate.encoder, certificate.sigma, decision) == (row.encoder, row.sigma, row.decision)


def read_attacks(folder: Folder) -> list[AttackRow]:
    """Rows of an attack run, finished or not; ValueError if there are none."""
    rows = read_rows(Path(folder) / ROWS, AttackRow)
    if not rows:
        raise ValueError(f"runs must be folders with rows, got the attack run {folder} without any")
    return rows


def _warn_of_differences(
    folder: Folder, rows: Sequence[AttackRow], certified: Folder, certificates: Sequence[Certificate]
) -> None:
    if not same_speakers(folder, certified):
        differ = OTHER_SPEAKERS
    elif rows[0].within is None and _utterances(rows) != _utterances(certificates):
        differ = "other utterances"
    else:
        return
    warnings.warn(f"beside {folder}, {certified} has {differ}", stacklevel=3)


def _enrolled(folder: Folder) -> dict[str, Tensor]:
    """Name -> vector (dim,)."""
    found = read_prototypes(folder)
    return {} if found is None else dict(zip(found[1], found[0], strict=True))


def _utterances(rows: Sequence[AttackRow | Certificate]) -> set[str]:
    return {row.utterance for row in rows}
