"""The attack job: enrol speakers, attack test utterances, measure what the system says then, write rows and a summary.

Any attack meets any encoder, smoothed or not; success is measured as in Yao et al. 2022 (SSED), robust accuracy as in
Korzh et al. 2024 (Fig. 9), but with the attack run at every radius.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib.metadata import version
from itertools import product
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from torch import nn
from tqdm import tqdm

from voxcert.attacks import Attack
from voxcert.encoders.base import Encoder, Recognizer, enroll
from voxcert.encoders.loading import load_encoder, source_hash
from voxcert.evaluation.attack.attacker import Attacker
from voxcert.evaluation.attack.certified import certified_radii, certified_speakers
from voxcert.evaluation.attack.comparison import redraw
from voxcert.evaluation.attack.description import check_attack, check_hash, check_reach, describe_attack
from voxcert.evaluation.attack.judge import Judge, appoint_judge
from voxcert.evaluation.attack.row import AttackRow
from voxcert.evaluation.attack.settings import AttackSettings
from voxcert.evaluation.attack.tables import by_budget, summarize_attack, summarize_robustness
from voxcert.evaluation.attack.trials import Trial, plan_trials
from voxcert.evaluation.attack.victim import Victim, balanced_threshold
from voxcert.evaluation.certification.folder import read_certified, read_prototypes, write_prototypes
from voxcert.evaluation.certification.heard import check_heard
from voxcert.evaluation.run.folder import ROWS, comparable, write_config, write_summary
from voxcert.evaluation.run.job import UNKNOWN, Provenance, SpeakerData, Task, do_tasks, started
from voxcert.evaluation.run.processes import at_hand, computed_on
from voxcert.evaluation.run.speakers import enrolled_only
from voxcert.rows import iterate_rows
from voxcert.smoothing.certificate import Certificate
from voxcert.smoothing.certified_score import CertifiedScore

Batch = tuple[float | None, list[Trial]]
"""What is attacked together, with its radius."""


def attack_speakers(
    encoder: nn.Module,
    data: SpeakerData,
    attack: Attack,
    settings: AttackSettings,
    provenance: Provenance = UNKNOWN,
) -> dict[str, Any]:
    """Enrols the speakers of `data` and attacks the system with its test utterances.

    Batches that `settings.output_dir` has already are skipped, so a run that was killed is continued by the same
    call, to the same rows.

    Args:
        encoder: Waveform (batch, time) -> unit embedding (batch, dim), in eval mode.
        data: Enrolment batches and test items, all of one length.
        attack: Any attack of `voxcert.attacks`, its settings bound. Targets, objective and generator come from here.
        settings: Whom to attack, and how to measure.
        provenance: Hash of the encoder, and what made it, the data and the attack.

    Returns:
        The summary that is in summary.json too.

    Raises:
        ValueError: If the folder holds a run with other settings (the message names them), the attack's settings are
            out of range, the judge cannot be loaded, the data does not have what the scenario needs, or a recording is
            not heard as `settings.certified` certified it.
    """
    check_attack(attack, settings)
    provenance = provenance.of(encoder)
    settings, other = _with_judge(replace(settings, attack_hash=check_hash(settings.attack_hash, attack)))
    config = {"attack": describe_attack(attack)} | provenance.config(settings)
    config |= {"accelerator": at_hand(settings.accelerator)}
    with started(settings.output_dir, config, data.plan("test"), settings.accelerator) as fabric:
        encoder, items = encoder.to(fabric.device).eval(), data.items("test")
        named = [(one.id, one.speaker) for one in data.tested("test")]
        recognizer = _enrolled(encoder, data, named, settings, provenance.encoder_id, fabric.device)
        trials = plan_trials(
            named,
            recognizer.speakers,
            scenario=settings.scenario,
            targeted=settings.targeted,
            target=settings.target,
            seed=settings.seed,
        )
        before = next(iterate_rows(Path(settings.output_dir) / ROWS, AttackRow), None)
        victim, error_rate = _victim(recognizer, items, settings, before, fabric.device)
        judge = None
        if other is not None:
            readings = _readings(items, "setting the threshold of the judge")
            judge = appoint_judge(other, data, readings, recognizer.speakers, settings, fabric.device)
        batches = _batches(trials, settings)
        if settings.within is not None:
            check_reach(attack, max(radius for radius, _ in batches))
        planned = dict.fromkeys(trial.utterance for _, batch in batches for trial in batch)
        drawn = list(planned)[: settings.plot]  # the same ones, wherever a run goes on
        attacker = Attacker(attack, victim, fabric.device, provenance.encoder_id, judge, drawn)
        proved = [] if settings.certified is None else read_certified(settings.certified)
        proofs = {row.utterance: row for row in proved}
        write_config(settings.output_dir, config)
        write_prototypes(settings.output_dir, recognizer.prototypes, recognizer.speakers)
        rows = do_tasks(
            [Task(batch, tuple((trial.utterance, batch[0]) for trial in batch[1])) for batch in batches],
            lambda batch: attacker.rows([_heard(items[one.index], proofs) for one in batch[1]], batch[1], batch[0]),
            AttackRow,
            settings.output_dir,
            fabric,
            verb="attacking",
            unit="batch",
            note=lambda batch, rows: _success_so_far(rows, batch[0] if settings.radii else None),
        )
        summary = {
            "command": provenance.command,
            "settings": comparable(config),
            "checkpoint_hash": provenance.encoder_id,
            "num_speakers": len(recognizer.speakers),
            "threshold": victim.threshold,
            "equal_error_rate": error_rate,
            "judge": _described(judge),
            "versions": {name: version(name) for name in ("torch", "lightning", "numpy", "scipy")},
            "attacks": [summarize_attack(group) for group in by_budget(rows).values()],
            "robust_accuracy": summarize_robustness(rows, sorted(settings.radii or [])),
            "timing": {"seconds_per_utterance": fmean(row.seconds for row in rows), **computed_on(fabric)},
        }
        write_summary(settings.output_dir, summary)
        redraw([settings.output_dir], [])
        return summary


def _with_judge(settings: AttackSettings) -> tuple[AttackSettings, Encoder | None]:
    """The encoder that is to judge, and the settings with its hash."""
    if settings.judge is None:
        return settings, None
    encoder = load_encoder(settings.judge)
    if settings.judge_hash not in (None, digest := source_hash(settings.judge, encoder)):
        raise ValueError(f"judge must have the hash {settings.judge_hash}, got {digest} in {settings.judge}")
    return replace(settings, judge_hash=digest), encoder


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
        recognizer = Recognizer(encoder, prototypes.to(device), speakers)
    else:
        recognizer = _enrolled_now(encoder, data, settings, device)
    return enrolled_only(recognizer, [speaker for _, speaker in named], settings.enrolled, settings.seed)


def _enrolled_now(encoder: nn.Module, data: SpeakerData, settings: AttackSettings, device: torch.device) -> Recognizer:
    noise = {"sigma": settings.sigma or 0.0, "num_noise": settings.enroll_noise, "seed": settings.seed}
    return enroll(encoder, data.enrollment_dataloader("test"), device=device, **noise)


def _heard(item: dict[str, Any], proofs: dict[str, Certificate | CertifiedScore]) -> dict[str, Any]:
    """A test item, once it is found to be what was certified."""
    proof = proofs.get(item["utterance"])
    if proof is not None and "waveform" in item:
        check_heard(proof, item["waveform"])
    return item


def _victim(
    recognizer: Recognizer, items: Any, settings: AttackSettings, before: AttackRow | None, device: torch.device
) -> tuple[Victim, float | None]:
    """The system with its threshold, and the error rate there if it was found here.

    A run that goes on keeps the threshold of its rows: scores depend on the number of threads in the last digits.
    """
    victim = Victim(recognizer, settings, settings.threshold)
    if settings.scenario == "csi" or settings.threshold is not None:
        return victim, None
    error_rate, threshold = balanced_threshold(victim, _readings(items, "setting the threshold"), device)
    return Victim(recognizer, settings, threshold if before is None else before.threshold), error_rate


def _readings(items: Any, title: str) -> Iterator[dict[str, Any]]:
    """All test items, with a bar."""
    return (items[index] for index in tqdm(range(len(items)), title, unit="utterance", leave=False))


def _described(judge: Judge | None) -> dict[str, Any] | None:
    if judge is None:
        return None
    return {"encoder": judge.encoder_id, "threshold": judge.verifier.threshold, "equal_error_rate": judge.error_rate}


def _batches(trials: list[Trial], settings: AttackSettings) -> list[Batch]:
    """Every batch of trials at every radius, or each trial within its certificate."""
    if settings.within is not None:
        certified = certified_radii(settings.certified, settings.decision, settings.sigma)
        batches = [
            (settings.within * certified[trial.utterance], [trial]) for trial in trials if trial.utterance in certified
        ]
        if not batches:
            raise ValueError(f"within needs utterances that {settings.certified} certifies for their speaker, got none")
        return batches
    size = settings.utterances_per_batch
    together = [trials[start : start + size] for start in range(0, len(trials), size)]
    return list(product(settings.radii or [None], together))


def _success_so_far(rows: Sequence[AttackRow], radius: float | None) -> str:
    own = by_budget(rows).get(radius)
    at = "" if radius is None else f"radius {radius:g}: "
    return f"{at}success {fmean(row.success for row in own):.2f}" if own else at
