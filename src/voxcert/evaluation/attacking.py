"""The attack job: enrol speakers, attack test utterances, measure what the system says then, write rows and a summary.

Any attack meets any encoder, smoothed or not; success is measured as in Yao et al. 2022 (SSED), robust accuracy as in
Korzh et al. 2024 (Fig. 9), but with the attack run at every radius.
"""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict
from importlib.metadata import version
from itertools import product
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from torch import nn
from tqdm import tqdm

from voxcert.attacks import Attack
from voxcert.encoders.base import Recognizer, enroll
from voxcert.evaluation.attack_batch import Attacker
from voxcert.evaluation.attack_description import attack_path, attack_settings, check_attack
from voxcert.evaluation.attack_report import by_budget, summarize_attack, summarize_robustness
from voxcert.evaluation.attack_rows import AttackRow, read_attacks, rewrite_attacks
from voxcert.evaluation.attack_settings import AttackSettings
from voxcert.evaluation.certification import SpeakerData
from voxcert.evaluation.certified_empirical import ROBUST_PLOT, certified_radii, certified_speakers, plot_runs
from voxcert.evaluation.devices import device_name, launch
from voxcert.evaluation.run_folder import (
    check_settings,
    comparable,
    open_rows,
    read_prototypes,
    write_config,
    write_prototypes,
    write_summary,
)
from voxcert.evaluation.thresholds import balanced_threshold
from voxcert.evaluation.trials import Trial, enrolled_only, plan_trials
from voxcert.evaluation.victims import Victim


def attack_speakers(
    encoder: nn.Module,
    data: SpeakerData,
    attack: Attack,
    settings: AttackSettings,
    *,
    encoder_id: str = "",
    origin: dict[str, Any] | None = None,
    command: str = "",
) -> dict[str, Any]:
    """Enrols the speakers of `data` and attacks the system with its test utterances.

    Utterances that `settings.output_dir` has already are skipped, so a run that was killed is continued by the same
    call, to the same rows.

    Args:
        encoder: Waveform (batch, time) -> unit embedding (batch, dim), in eval mode.
        data: Enrolment batches and test items, all of one length.
        attack: Any attack of `voxcert.attacks`, its settings bound. Targets, objective and generator come from here.
        settings: Whom to attack, and how to measure.
        encoder_id: Hash of the encoder; stands in every row, and a continued run must have the same.
        origin: What made encoder, data and attack, as plain values: kept in config.yaml, and compared on a restart.
        command: The command line, for the summary.

    Returns:
        The summary that is in summary.json too.

    Raises:
        ValueError: If the folder holds a run with other settings (the message names them), the attack's settings are
            out of range, or the data does not have what the scenario needs.
    """
    check_attack(attack, settings)
    described = {"class_path": attack_path(attack), "init_args": attack_settings(attack)}
    config = {"attack": described, **(origin or {}), "checkpoint_hash": encoder_id, **asdict(settings)}
    check_settings(settings.output_dir, config)
    device = launch(settings.accelerator, 1, 1).device
    encoder, items = encoder.to(device).eval(), data.items("test")
    named = [_names(items[index]) for index in tqdm(range(len(items)), "reading", unit="utterance", leave=False)]
    recognizer = _enrolled(encoder, data, named, settings, encoder_id, device)
    trials = plan_trials(named, recognizer.speakers, settings)
    victim, error_rate = _victim(recognizer, items, settings, device)
    attacker = Attacker(attack, victim, device, encoder_id)
    write_config(settings.output_dir, config)
    write_prototypes(settings.output_dir, recognizer.prototypes, recognizer.speakers)
    rows = _attack_all(attacker, items, trials, settings)
    summary = {
        "command": command,
        "settings": comparable(config),
        "checkpoint_hash": encoder_id,
        "num_speakers": len(recognizer.speakers),
        "threshold": victim.threshold,
        "equal_error_rate": error_rate,
        "versions": {name: version(name) for name in ("torch", "lightning", "numpy", "scipy")},
        "attacks": [summarize_attack(group) for group in by_budget(rows).values()],
        "robust_accuracy": summarize_robustness(rows, sorted(settings.radii or [])),
        "timing": {"seconds_per_utterance": fmean(row.seconds for row in rows), "device": device_name(device)},
    }
    write_summary(settings.output_dir, summary)
    certified = [settings.certified] if settings.certified else []
    plot_runs([settings.output_dir], certified, Path(settings.output_dir) / ROBUST_PLOT)
    return summary


def _names(item: dict[str, Any]) -> tuple[str, str]:
    return item["utterance"], item["speaker"]


def _enrolled(
    encoder: nn.Module,
    data: SpeakerData,
    named: Sequence[tuple[str, str]],
    settings: AttackSettings,
    encoder_id: str,
    device: torch.device,
) -> Recognizer:
    """The speakers that the folder has, those of a certification run, or those of the data that are asked for."""
    found = read_prototypes(settings.output_dir)
    if found is None and settings.certified is not None:
        found = certified_speakers(settings.certified, encoder_id)
    if found is not None:
        prototypes, speakers = found
        return Recognizer(encoder, prototypes.to(device), speakers)
    noisy = settings.sigma is not None and settings.enroll_noise > 0
    noise = {"sigma": settings.sigma, "num_noise": settings.enroll_noise, "seed": settings.seed} if noisy else {}
    recognizer = enroll(encoder, data.enrollment_dataloader("test"), device=device, **noise)
    return enrolled_only(recognizer, [speaker for _, speaker in named], settings)


def _victim(
    recognizer: Recognizer, items: Any, settings: AttackSettings, device: torch.device
) -> tuple[Victim, float | None]:
    """The system with its threshold, and the error rate there if it was found here."""
    victim = Victim(recognizer, settings, settings.threshold)
    if settings.scenario == "csi" or settings.threshold is not None:
        return victim, None
    readings = tqdm(range(len(items)), "setting the threshold", unit="utterance", leave=False)
    error_rate, threshold = balanced_threshold(victim, (items[index] for index in readings), device)
    return Victim(recognizer, settings, threshold), error_rate


def _attack_all(attacker: Attacker, items: Any, trials: list[Trial], settings: AttackSettings) -> list[AttackRow]:
    """Attacks all batches that are not done yet, and writes their rows at once; returns all rows."""
    jobs = _jobs(trials, settings)
    rows, num_done = _finished(settings.output_dir, jobs)
    progress = tqdm(jobs[num_done:], "attacking", initial=num_done, total=len(jobs), unit="batch")
    with closing(open_rows(settings.output_dir, rank=0)) as writer:
        for radius, batch in progress:
            new = attacker.rows([items[trial.index] for trial in batch], batch, radius)
            writer.write(new)
            rows += new
            shown = None if settings.radii is None else radius
            rate = fmean(row.success for row in by_budget(rows)[shown])
            progress.set_postfix_str(f"{'' if shown is None else f'radius {shown:g}: '}success {rate:.2f}")
    return rows


def _jobs(trials: list[Trial], settings: AttackSettings) -> list[tuple[float | None, list[Trial]]]:
    """What is attacked together, with its radius: every batch at every radius, or each trial within its certificate."""
    if settings.within is not None:
        certified = certified_radii(settings.certified, settings.decision)
        jobs = [
            (settings.within * certified[trial.utterance], [trial]) for trial in trials if trial.utterance in certified
        ]
        if not jobs:
            raise ValueError(f"within needs utterances that {settings.certified} certifies for their speaker, got none")
        return jobs
    size = settings.utterances_per_batch
    batches = [trials[start : start + size] for start in range(0, len(trials), size)]
    return list(product(settings.radii or [None], batches))


def _finished(folder: str | Path, jobs: Sequence[tuple[float | None, list[Trial]]]) -> tuple[list[AttackRow], int]:
    """Rows of the batches that were written in full, and the number of these; a batch cut short is done again."""
    found, rows, num_done = read_attacks(folder), [], 0
    for radius, batch in jobs:
        wanted = [(trial.utterance, radius) for trial in batch]
        stretch = found[len(rows) : len(rows) + len(batch)]
        if [(row.utterance, row.radius) for row in stretch] != wanted:
            break
        rows, num_done = rows + stretch, num_done + 1
    if len(rows) < len(found):
        rewrite_attacks(folder, rows)
    return rows, num_done
