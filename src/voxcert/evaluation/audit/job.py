"""The audit: checks the data, plans, attacks, certifies, attacks what was certified, listens, and writes the page.

It computes nothing itself: every stage is a job of another room in a folder of its own, and each can be continued.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn
from tqdm import tqdm

from voxcert.data.check import check_corpus, describe
from voxcert.data.claims import check_claims
from voxcert.data.datamodule import SpeakerDataModule
from voxcert.data.identity import write_plan
from voxcert.evaluation.attack.row import AttackRow
from voxcert.evaluation.audit.settings import AuditSettings
from voxcert.evaluation.audit.stages import FIRST, IMPOSTORS, Stage, System, forwards, stages
from voxcert.evaluation.planning import plan_certification
from voxcert.evaluation.report import write_report
from voxcert.evaluation.run.claim import claim
from voxcert.evaluation.run.folder import CONFIG, PLAN, ROWS, read_summary, write_config
from voxcert.evaluation.run.job import UNKNOWN, Provenance
from voxcert.evaluation.run.lock import locked
from voxcert.evaluation.run.processes import at_hand
from voxcert.evaluation.run.progress import listening
from voxcert.evaluation.show.tables import percent
from voxcert.rows import read_rows, replace_file

BAR = "{desc}: {percentage:3.0f}%|{bar:24}| {elapsed}, {remaining} left"
DATA, PILOT, PAGE, FINISHED = "data.txt", "plan", "report.html", ".finished"
"""Of the audit's folder; the last holds a file for each stage that is done."""


def audit_encoder(
    encoder: nn.Module, data: SpeakerDataModule, settings: AuditSettings, provenance: Provenance = UNKNOWN
) -> dict[str, Any]:
    """Audits an encoder with the speakers of `data` and writes report.html.

    Stages that `settings.output_dir` has already are skipped, and one that was cut short goes on, so an audit that was
    killed is continued by the same call, on the same recordings. The plan is made once and kept.

    Args:
        encoder: Waveform (batch, time) -> unit embedding (batch, dim), in eval mode.
        data: What enrols and is tested.
        settings: How much to do.
        provenance: Hash of the encoder, and what made it and the data.

    Returns:
        The plan.

    Raises:
        ValueError: If the folder holds an audit with other settings or data (the message names them), something is
            wrong with the data, or a stage refuses.
    """
    provenance = provenance.of(encoder)
    system = System(encoder, data, settings, provenance)
    config = provenance.config(settings)
    config |= {"accelerator": at_hand(settings.accelerator)}
    check_claims(data)
    with locked(system.folder):
        with tqdm(bar_format="{desc} [{elapsed}]", leave=False) as bar:
            _begin(system, config, bar)
            plan = _plan(system, bar)
        chosen = plan["recommended"]
        system = system.about(chosen["num_utterances"])
        todo = stages(system, chosen["num_estimate"], chosen["sigmas"], plan["batch_size"])
        shown = _run(todo, system.folder, chosen["num_utterances"])
        write_report([system.folder / stage.name for stage in shown if stage.is_run], system.folder / PAGE)
    return plan


def _begin(system: System, config: dict[str, Any], bar: tqdm) -> None:
    """Refuses an audit of something else, and what a run would refuse of the data; the report stays in data.txt."""
    bar.set_description_str("audit: reading the data")
    planned = system.data.plan("test")
    claim(system.folder, config, planned)
    if (system.folder / CONFIG).is_file():
        return
    protocol = system.data.protocol
    report = check_corpus(system.data.corpus, protocol.segment_seconds, num_enroll=protocol.num_enroll)
    if (report.refused or report.leaks) and not system.data.skip_bad:
        raise ValueError(
            f"data must be readable and without leaks (data.on_bad_audio skip leaves bad recordings out), got:\n"
            f"{describe(report)}"
        )
    replace_file(system.folder / DATA, describe(report) + "\n")
    write_plan(planned, system.folder / PLAN)
    write_config(system.folder, config)  # last: from here on it goes on, with these settings and data


def _plan(system: System, bar: tqdm) -> dict[str, Any]:
    """The plan that the folder has, or else one that is made now."""
    folder, marker = system.folder / PILOT, system.folder / FINISHED / PILOT
    if not marker.is_file():
        bar.set_description_str("audit: planning (then it is known how long the rest takes)")
        settings = system.settings.plan(str(folder))
        made = system.made(folder, "plan")
        plan_certification(system.encoder, system.data, settings, made, partial(forwards, system))
        replace_file(marker, "")
    return read_summary(folder)


def _run(todo: Sequence[Stage], folder: Path, num_utterances: int) -> list[Stage]:
    """Runs what is not finished, under one bar; returns the stages that had something to do."""
    markers = {stage.name: folder / FINISHED / stage.name for stage in todo}
    left = [stage for stage in todo if not markers[stage.name].is_file()]
    total, open_cost = (num_utterances * sum(stage.forwards for stage in some) for some in (todo, left))
    with tqdm(total=total, initial=total - open_cost, smoothing=0, bar_format=BAR) as bar:
        for number, stage in enumerate(left, start=len(todo) - len(left) + 1):
            bar.set_description_str(f"audit, {number} of {len(todo)}: {stage.question}")
            start, cost = bar.n, num_utterances * stage.forwards
            with listening(partial(_move, bar, start, cost)):
                did = stage.run()
            _move(bar, start, cost, 1.0)
            replace_file(markers[stage.name], "" if did else "nothing to do\n")
    return [stage for stage in todo if not markers[stage.name].read_text()]


def _move(bar: tqdm, start: float, cost: float, share: float) -> None:
    """Moves a bar to where a share of a stage is done."""
    bar.update(start + share * cost - bar.n)


def encoder_statement(folder: str | Path) -> str:
    """Says how well the encoder itself does without an attack, from the stages of a finished audit."""
    rows = read_rows(Path(folder) / FIRST / ROWS, AttackRow)
    error_rate = read_summary(Path(folder) / IMPOSTORS)["equal_error_rate"]
    right = sum(row.correct_before for row in rows)
    return (
        f"Without noise and without an attack the encoder names {right} of {len(rows)} recordings rightly, and "
        f"verifies with an equal error rate of {percent(error_rate)} %."
    )
