"""The planning job: a few noisy copies of a few utterances at every sigma, and what they foretell.

Nothing here is certified. The pilot's noise is not that of the certificates, so a sigma that is chosen by it costs no
error probability.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import cycle, islice
from statistics import median
from typing import Any

import torch
from torch import nn

from voxcert.data.enrollment import balanced_subset
from voxcert.evaluation.certification.job import build_certifier
from voxcert.evaluation.certification.settings import CertificationSettings
from voxcert.evaluation.certification.system import enroll_speakers, find_batch_size
from voxcert.evaluation.planning.recommendation import Work, estimates, recommend
from voxcert.evaluation.planning.row import PilotRow
from voxcert.evaluation.planning.settings import PlanSettings
from voxcert.evaluation.run.folder import comparable, read_config, write_config, write_summary
from voxcert.evaluation.run.job import UNKNOWN, Provenance, SpeakerData, Task, do_tasks, started
from voxcert.evaluation.run.processes import FilledBatches, at_hand
from voxcert.evaluation.run.speed import at_precision
from voxcert.smoothing.certificate import Certificate
from voxcert.smoothing.certifier import Certifier
from voxcert.smoothing.devices import device_name
from voxcert.smoothing.embedder import filled
from voxcert.smoothing.expected import expected_radius
from voxcert.smoothing.statistics import Statistics

RULES = ("vote", "distribution")
"""One for each smoothed classifier: the stronger one where there are several."""
TIMED = 3
"""Passes that tell how fast a forward is here and now, at least."""
ASKED = ("minutes", "budgets")
"""Settings that are questions to a pilot, and change no row of it."""


def plan_certification(
    encoder: nn.Module,
    data: SpeakerData,
    settings: PlanSettings,
    provenance: Provenance = UNKNOWN,
    work: Work | None = None,
    before: Callable[[float], nn.Module] | None = None,
) -> dict[str, Any]:
    """Runs a pilot on validation utterances, where the data have any, or else on some of the test utterances.

    Utterances that `settings.output_dir` has already are skipped, so a pilot that was killed is continued by the same
    call. `minutes` and `budgets` may be others then: the same pilot answers.

    Args:
        encoder: Waveform (batch, time) -> unit embedding (batch, dim), in eval mode.
        data: Enrolment batches and items.
        settings: What to try, and how long the certification may take.
        provenance: Hash of the encoder, and what made it and the data.
        work: What is to be done about every utterance; None certifies it at every sigma that is recommended.
        before: What goes before the encoder at a sigma, waveforms (batch, time) to waveforms, such as the one-shot
            denoiser of that sigma.

    Returns:
        The plan that is in summary.json too: what was measured, `estimates` and `recommended`.

    Raises:
        ValueError: If the folder holds a pilot with other settings or data (the message names them), enrolment fails,
            or no utterance of the pilot can be heard.
    """
    provenance = provenance.of(encoder)
    stage, goal = pilot_stage(data), planned_stage(data)
    config = provenance.config(settings)
    config |= {"accelerator": at_hand(settings.accelerator)}
    options = {"precision": settings.precision, "may_differ": ASKED}
    with started(settings.output_dir, config, data.plan(stage), settings.accelerator, **options) as fabric:

        def system(sigma: float) -> nn.Module:
            whole = encoder if before is None else nn.Sequential(before(sigma), encoder)
            return FilledBatches(at_precision(whole.to(fabric.device).eval(), settings.precision)).eval()

        tested, items, num_utterances = data.tested(stage), data.items(stage), len(data.tested(goal))
        systems = {sigma: system(sigma) for sigma in settings.sigmas}  # a sigma that has none is refused at once
        first = systems[settings.sigmas[0]]
        settings = replace(settings, batch_size=_batch_size(first, items, settings, fabric.device))
        write_config(settings.output_dir, config | {"batch_size": settings.batch_size})
        chosen = {one.id for one in balanced_subset(tested, settings.num_utterances, seed=settings.seed)}
        places = [index for index, one in enumerate(tested) if one.id in chosen]
        certifiers: dict[float, Certifier] = {}
        paces: list[float] = []  # seconds for a row of a batch; old rows may be of another machine, or a busier one

        def do(about: tuple[float, int]) -> list[PilotRow]:
            sigma, index = about
            if sigma not in certifiers:
                certifiers.clear()
                certifiers[sigma] = _certifier(systems[sigma], data, stage, settings, sigma, fabric.device)
            rows = _pilot(certifiers[sigma], items[index], settings)
            paces.extend(_pace(row, certifiers[sigma]) for row in rows[:1] if row.failed is None)
            return rows

        tasks = [
            Task((sigma, index), tuple((tested[index].id, sigma, rule) for rule in RULES))
            for sigma in settings.sigmas
            for index in places
        ]
        rows = do_tasks(
            tasks,
            do,
            PilotRow,
            settings.output_dir,
            fabric,
            verb="piloting",
            unit="utterance",
            note=lambda about, rows: f"sigma {about[0]:g}",
        )
        heard = [row for row in rows if row.failed is None]
        if not heard:
            raise ValueError(f"utterances of the pilot must be audible, got {len(rows)} failures: {rows[0].failed}")
        audible = {row.utterance for row in heard}
        sigma = next(iter(certifiers), settings.sigmas[0])
        again = cycle((sigma, index) for index in places if tested[index].id in audible)
        for about in islice(again, max(0, TIMED - len(paces))):  # a pilot that went on had little left to be timed
            do(about)
        [timed] = certifiers.values()
    measured = {
        "stage": stage,
        "num_pilot_utterances": len({row.utterance for row in heard}),
        "planned_stage": goal,
        "num_utterances": num_utterances,
        "seconds_per_forward": median(paces),
        "device": device_name(fabric.device),
        "batch_size": timed.batch_size,  # less than the settings' where that did not fit into memory
    }
    found = estimates(heard, settings, measured)
    plan = {
        "command": provenance.command,
        "settings": comparable(config),
        "checkpoint_hash": provenance.encoder_id,
        **measured,
        "estimates": found,
        "recommended": recommend(found, settings, measured, work),
    }
    write_summary(settings.output_dir, plan)
    return plan


def pilot_stage(data: SpeakerData) -> str:
    """Validation, where the data have speakers for it: then nobody is tested whom the plan has heard."""
    return "val" if _has_speakers(data, "val") else "test"


def planned_stage(data: SpeakerData) -> str:
    """The test, whose minutes are asked for; or what the pilot hears, where the data have no speakers for a test."""
    return "test" if _has_speakers(data, "test") else pilot_stage(data)


def _has_speakers(data: SpeakerData, stage: str) -> bool:
    try:
        data.tested(stage)
    except ValueError:
        return False
    return True


def _batch_size(encoder: nn.Module, items: Any, settings: PlanSettings, device: torch.device) -> int:
    """The one that the folder was made with, or else the fastest for the first utterance that can be heard."""
    if settings.batch_size != "auto":
        return settings.batch_size
    found = read_config(settings.output_dir)
    own = _certification(settings, settings.sigmas[0])
    return find_batch_size(encoder, items, own, device) if found is None else found["batch_size"]


def _certification(settings: PlanSettings, sigma: float) -> CertificationSettings:
    return CertificationSettings(
        output_dir=settings.output_dir,
        sigma=sigma,
        alpha=settings.alpha,
        num_select=settings.num_select,
        num_estimate=settings.num_pilot,
        rules=list(RULES),
        enroll_noise=settings.enroll_noise,
        seed=settings.seed,
        batch_size=settings.batch_size,
    )


def _certifier(
    encoder: nn.Module, data: SpeakerData, stage: str, settings: PlanSettings, sigma: float, device: torch.device
) -> Certifier:
    own = _certification(settings, sigma)
    recognizer = enroll_speakers(encoder, data.enrollment_dataloader(stage), own, device)
    return build_certifier(recognizer, own, encoder_id="")


def _pace(row: PilotRow, certifier: Certifier) -> float:
    """Seconds for a row of a batch: batches are filled up, so more rows are computed than copies are drawn."""
    selected, size = certifier.num_select, certifier.batch_size
    return row.seconds / (filled(selected, size) + filled(row.num_forwards - selected, size))


def _pilot(certifier: Certifier, item: dict[str, Any], settings: PlanSettings) -> list[PilotRow]:
    about = {"utterance": item["utterance"], "speaker": item["speaker"], "sigma": certifier.sigma}
    row = partial(PilotRow, **about, samples=list(settings.samples))
    nothing = [0.0] * len(settings.samples)

    def expected(one: Certificate, statistics: Statistics | None, doubt: bool) -> list[float]:
        if not one.correct or statistics is None:
            return nothing
        return [expected_radius(one.rule, statistics, n, settings.alpha, doubt=doubt) for n in settings.samples]

    if "error" in item:
        unheard = {"correct": False, "radii": nothing, "num_forwards": 0, "seconds": 0.0, "failed": item["error"]}
        return [row(rule=rule, **unheard) for rule in RULES]
    # Noise depends on the id, so this is not the noise that the utterance itself is certified with.
    certificates, statistics = certifier.examine(item["waveform"], f"pilot/{item['utterance']}", item["speaker"])
    return [
        row(
            rule=one.rule,
            correct=one.correct,
            radii=expected(one, statistics, doubt=True),
            num_forwards=one.num_forwards,
            seconds=one.seconds,
            hoped=expected(one, statistics, doubt=False),
        )
        for one in certificates
    ]
