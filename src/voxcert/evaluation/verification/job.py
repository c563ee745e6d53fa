"""The verification job: enrol speakers, bound the scores of all trials on any number of devices, write rows and rates.

A trial is a test utterance with a claim, from the data or from a list; in an open set it is a test utterance. One pass
over noisy copies of an utterance serves all its claims.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from voxcert.data.claims import check_claims
from voxcert.data.identity import read_plan
from voxcert.data.listed import listed
from voxcert.data.names import few
from voxcert.data.same_audio import content_hash
from voxcert.data.trials import Trial, verification_trials
from voxcert.data.utterance import Utterance
from voxcert.encoders.base import Recognizer
from voxcert.evaluation.certification.job import build_certifier
from voxcert.evaluation.certification.settings import CertificationSettings
from voxcert.evaluation.certification.system import enrolled
from voxcert.evaluation.run.folder import PLAN, write_summary
from voxcert.evaluation.run.job import UNKNOWN, Provenance, SpeakerData, Task, do_tasks
from voxcert.evaluation.run.processes import computed_on
from voxcert.evaluation.run.speakers import enrolled_only
from voxcert.evaluation.verification.cohort import choose_cohort, write_cohort
from voxcert.evaluation.verification.figures import plot_error_rates
from voxcert.evaluation.verification.tables import summarize_trials
from voxcert.smoothing.certified_score import CertifiedScore
from voxcert.smoothing.normalization import Cohort
from voxcert.smoothing.score_certifier import ScoreCertifier

PLOT = "certified_error_rates.png"


def verify_speakers(
    encoder: nn.Module,
    data: SpeakerData,
    settings: CertificationSettings,
    provenance: Provenance = UNKNOWN,
) -> dict[str, Any] | None:
    """Enrols the speakers of `data` and certifies the trials of its test utterances.

    Utterances that `settings.output_dir` has already are skipped, so a run that was killed is continued by the same
    call, whatever the number of devices was.

    Args:
        encoder: Waveform (batch, time) -> unit embedding (batch, dim), in eval mode.
        data: Enrolment batches and test items; with `settings.trials` a `SpeakerDataModule`.
        settings: How to certify; its task is `verification` or `open_set`.
        provenance: Hash of the encoder, and what made it and the data.

    Returns:
        The summary that is in summary.json too; None in all processes but the first.

    Raises:
        ValueError: If the folder holds a run with other settings (the message names them), the list of trials is not
            one about these data (`listed`), there are no trials of one kind or too few impostors, the cohort is too
            small, or enrolment fails.
    """
    provenance, trials, voices = provenance.of(encoder), None, {}
    if settings.trials is not None:
        if settings.trials_hash not in (None, digest := content_hash(settings.trials)):
            raise ValueError(
                f"trials must be the list with hash {settings.trials_hash}, got {settings.trials}: {digest}"
            )
        found = listed(data, settings.trials)
        data, trials, voices = found.data, found.trials, found.voices
        settings = replace(settings, trials_hash=digest)
    elif settings.task == "verification":
        check_claims(data)
    tested = data.tested("test")
    with enrolled(encoder, data, settings, provenance) as system:
        settings, items, fabric = system.settings, system.items, system.fabric
        names = sorted({one.speaker for one in tested})
        recognizer = enrolled_only(system.recognizer, names, settings.enrolled, settings.seed)
        if trials is None:
            _check_both_kinds(names, recognizer.speakers, settings)
            trials = _trials([name for name in names if name in recognizer.speakers], tested, settings)
        claimed = _claimed(trials, recognizer.speakers)
        data_plan = read_plan(Path(settings.output_dir) / PLAN)
        cohort = choose_cohort(recognizer, data_plan, {*names, *claimed, *voices.values()}, settings)
        if cohort is not None and fabric.is_global_zero:
            write_cohort(settings.output_dir, cohort)
        about = {name: _about_claim(name, recognizer, voices, cohort) for name in claimed}
        claims = _claims(trials, tested)
        certifier = build_certifier(recognizer, settings, provenance.encoder_id, ScoreCertifier)
        own_claims = enumerate(zip(tested, claims, strict=True))
        plan = [Task((i, own), _keys(one, own, certifier.verifiers)) for i, (one, own) in own_claims]
        rows = do_tasks(
            plan,
            lambda task: [
                replace(row, **about.get(row.claim, {}))
                for row in certify_trials(certifier, items[task[0]], task[1], settings.report_radii)
            ],
            CertifiedScore,
            settings.output_dir,
            fabric,
            verb="certifying",
            unit="utterance",
            log_format=settings.log_format,
        )
        if not fabric.is_global_zero:
            return None
        forwards = {row.utterance: (row.num_forwards, row.seconds) for row in rows}
        summary = system.described(provenance) | {
            "num_enrolled": len(recognizer.speakers),
            "num_utterances": len(forwards),
            "num_failed": len({row.utterance for row in rows if row.failed is not None}),
            "total_forwards": sum(spent for spent, _ in forwards.values()),
            "verifiers": summarize_trials(rows, settings.threshold),
            "timing": {"seconds": sum(seconds for _, seconds in forwards.values()), **computed_on(fabric)},
        }
        write_summary(settings.output_dir, summary)
        plot_error_rates(rows, summary["verifiers"], Path(settings.output_dir) / PLOT)
        return summary


def certify_trials(
    certifier: ScoreCertifier, item: dict[str, Any], claims: Sequence[str], radii: Sequence[float]
) -> list[CertifiedScore]:
    """Certifies an item's claims, or without claims what it is taken for in an open set.

    Args:
        certifier: With the settings.
        item: Of the data module; one whose audio cannot be read becomes rows that say why.
        claims: Enrolled speakers; none for an open set.
        radii: l2 norms, ascending.
    """
    about = {"utterance": item["utterance"], "speaker": item["speaker"]}
    if "error" in item:
        reason = {"reason": item["error"], "open_set": not claims}
        return certifier.unheard(claims=claims or [""], radii=radii, **about, **reason)
    if claims:
        return certifier.verify(item["waveform"], radii, claims, **about)
    return certifier.identify_or_reject(item["waveform"], radii, **about)


def _trials(names: Sequence[str], tested: Sequence[Utterance], settings: CertificationSettings) -> list[Trial]:
    """Every test utterance claims to be each of these speakers; nobody claims in an open set."""
    if settings.task == "open_set":
        return []
    return verification_trials(names, tested, num_nontarget=settings.num_impostors, seed=settings.seed)


def _claims(trials: Iterable[Trial], tested: Sequence[Utterance]) -> list[tuple[str, ...]]:
    """The claims of every test utterance; none in an open set."""
    claims: dict[str, list[str]] = {one.id: [] for one in tested}
    for trial in trials:
        claims[trial.utterance].append(trial.enrolled)
    return [tuple(claims[one.id]) for one in tested]


def _claimed(trials: Sequence[Trial], speakers: Sequence[str]) -> list[str]:
    """Who is claimed; refuses a list with an enrolment side that could not be read."""
    claimed = sorted({trial.enrolled for trial in trials})
    missing = [name for name in claimed if name not in speakers]
    if missing:
        raise ValueError(f"trials must claim who can be enrolled, got {few(missing, show=repr)} without readable audio")
    return claimed


def _about_claim(name: str, recognizer: Recognizer, voices: dict[str, str], cohort: Cohort | None) -> dict[str, Any]:
    """What rows say of a claim by itself: who speaks there, and the map of its scores."""
    about: dict[str, Any] = {"voice": voices.get(name, "")}
    if cohort is None:
        return about
    fixed = cohort.normalization(recognizer.prototypes[recognizer.speakers.index(name)], name)
    return about | {"norm_mean": fixed.mean, "norm_deviation": fixed.deviation}


def _keys(utterance: Utterance, claims: Sequence[str], verifiers: Sequence[str]) -> tuple[tuple[str, str, str], ...]:
    return tuple((utterance.id, claim, verifier) for verifier in verifiers for claim in claims or ("",))


def _check_both_kinds(names: Sequence[str], speakers: Sequence[str], settings: CertificationSettings) -> None:
    """Refuses data without genuine or impostor trials, which error rates need, or with fewer than asked for."""
    if settings.task == "open_set" and not set(names) - set(speakers):
        raise ValueError(f"enrolled must leave strangers among {len(names)} tested speakers, got {settings.enrolled}")
    if settings.task == "open_set" and not set(names) & set(speakers):
        raise ValueError(f"enrolled must name some of the {len(names)} tested speakers, got {settings.enrolled}")
    claimed = set(names) & set(speakers)
    if settings.task == "verification" and len(claimed) < 2:
        raise ValueError(
            "data must have 2 or more speakers who are tested and enrolled, for the task verification, got "
            f"{len(claimed)}"
        )
    if settings.num_impostors is not None and settings.num_impostors >= len(claimed):
        raise ValueError(
            f"num_impostors must be in [1, {len(claimed) - 1}], of the {len(claimed)} speakers who are tested and "
            f"enrolled all but the one who speaks, got {settings.num_impostors}"
        )
