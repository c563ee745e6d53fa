"""The certification job: enrol speakers, certify test utterances on any number of devices, write rows and a summary.

Certifying and plotting are joined by a flat file of rows, as in Cohen et al. 2019; here the file also lets a run that
was killed go on where it stopped.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from lightning.fabric import Fabric
from torch import Tensor, nn

from voxcert.encoders.base import Recognizer, enroll
from voxcert.evaluation.certification.figures import plot_certified_accuracy
from voxcert.evaluation.certification.folder import PLOT, read_prototypes, write_prototypes, write_statistics
from voxcert.evaluation.certification.represented import at_representation
from voxcert.evaluation.certification.settings import CertificationSettings
from voxcert.evaluation.certification.tables import summarize
from voxcert.evaluation.run.folder import comparable, read_config, write_config, write_summary
from voxcert.evaluation.run.job import UNKNOWN, Provenance, SpeakerData, Task, do_tasks, started
from voxcert.evaluation.run.processes import FilledBatches, at_hand, device_name
from voxcert.smoothing.batching import fastest_batch_size
from voxcert.smoothing.certificate import Certificate
from voxcert.smoothing.certifier import Certifier
from voxcert.smoothing.curves import certified_accuracy
from voxcert.smoothing.statistics import Statistics


def certify_speakers(
    encoder: nn.Module,
    data: SpeakerData,
    settings: CertificationSettings,
    provenance: Provenance = UNKNOWN,
) -> dict[str, Any] | None:
    """Enrols the speakers of `data` and certifies its test utterances.

    Utterances that `settings.output_dir` has already are skipped, so a run that was killed is continued by the same
    call, whatever the number of devices was.

    Args:
        encoder: Waveform (batch, time) -> unit embedding (batch, dim), in eval mode.
        data: Enrolment batches and test items.
        settings: How to certify.
        provenance: Hash of the encoder, and what made it and the data.

    Returns:
        The summary that is in summary.json too; None in all processes but the first.

    Raises:
        ValueError: If the folder holds a run with other settings (the message names them), the encoder has no
            representation to put noise at, or enrolment fails.
    """
    config = {**provenance.origin, "checkpoint_hash": provenance.encoder_id, **asdict(settings)}
    config |= {"accelerator": at_hand(settings.accelerator)}
    processes = settings.accelerator, settings.devices, settings.num_nodes, settings.matmul_precision
    with started(settings.output_dir, config, data.plan("test"), *processes) as fabric:
        encoder, data = at_representation(encoder.to(fabric.device).eval(), data, settings.noise_at, fabric.device)
        encoder, items = FilledBatches(encoder).eval(), data.items("test")
        settings = _prepare_folder(settings, config, encoder, items, fabric)
        recognizer = _enrolled(encoder, data, settings, fabric)
        certifier = build_certifier(encoder, recognizer, settings, provenance.encoder_id)
        rows = do_tasks(
            _plan(data, settings),
            lambda index: _certify_and_keep(certifier, items[index], settings),
            Certificate,
            settings.output_dir,
            fabric,
            verb="certifying",
            unit="utterance",
            note=lambda index, rows: _accuracy_so_far(rows, settings),
        )
        if not fabric.is_global_zero:
            return None
        summary = {
            "command": provenance.command,
            "settings": comparable(config),
            "checkpoint_hash": provenance.encoder_id,
            "num_speakers": len(recognizer.speakers),
            "versions": {name: version(name) for name in ("torch", "lightning", "speechbrain", "numpy", "scipy")},
            **summarize_run(rows, settings.report_radii),
        }
        summary["timing"] |= {"device": device_name(fabric.device), "processes": fabric.world_size}
        write_summary(settings.output_dir, summary)
        plot_certified_accuracy(rows, Path(settings.output_dir) / PLOT)
        return summary


def summarize_run(rows: list[Certificate], radii: list[float]) -> dict[str, Any]:
    """Summarises all rows of a run; what depends on the machine's speed is under `timing`."""
    passes = list({row.utterance: row for row in rows}.values())  # one pass over the samples serves all rules
    forwards, seconds = sum(row.num_forwards for row in passes), sum(row.seconds for row in passes)
    return {
        "num_utterances": len(passes),
        "num_failed": sum(row.num_forwards == 0 for row in passes),
        "total_forwards": forwards,
        "mean_forwards": forwards / max(len(passes), 1),
        "rules": summarize(rows, radii),
        "timing": {"seconds": seconds, "forwards_per_second": forwards / seconds if seconds else 0.0},
    }


def _prepare_folder(
    settings: CertificationSettings, config: dict[str, Any], encoder: nn.Module, items: Any, fabric: Fabric
) -> CertificationSettings:
    """Settles the batch size and keeps the settings; returns those of all processes."""
    if fabric.is_global_zero:
        settings = _with_batch_size(settings, encoder, items, fabric)
        write_config(settings.output_dir, config | {"batch_size": settings.batch_size})
    return fabric.broadcast(settings)  # which the others wait for


def enroll_speakers(
    encoder: nn.Module, batches: Iterable[dict], settings: CertificationSettings, device: torch.device
) -> Recognizer:
    """Enrols as the settings say: on clean speech, or under `enroll_noise` draws of the certificate's noise."""
    noise = {"sigma": settings.sigma, "num_noise": settings.enroll_noise} if settings.enroll_noise else {}
    return enroll(encoder, batches, seed=settings.seed, device=device, **noise)


def _enrolled(encoder: nn.Module, data: SpeakerData, settings: CertificationSettings, fabric: Fabric) -> Recognizer:
    """Enrols in the first process, or takes the speakers that the folder has; the same prototypes for all."""
    if fabric.is_global_zero and read_prototypes(settings.output_dir) is None:
        recognizer = enroll_speakers(encoder, data.enrollment_dataloader("test"), settings, fabric.device)
        write_prototypes(settings.output_dir, recognizer.prototypes, recognizer.speakers)
    fabric.barrier("the speakers are enrolled")
    prototypes, speakers = read_prototypes(settings.output_dir)
    return Recognizer(encoder, prototypes.to(fabric.device), speakers)


def _with_batch_size(
    settings: CertificationSettings, encoder: Callable[[Tensor], Tensor], items: Any, fabric: Fabric
) -> CertificationSettings:
    """Settles an automatic batch size: the one the folder was made with, or else the fastest.

    Sums of floats depend on it in the last digit, so all processes, and a continued run, use the same.
    """
    if settings.batch_size != "auto":
        return settings
    found = read_config(settings.output_dir)
    if found is not None:
        return replace(settings, batch_size=found["batch_size"])
    return replace(settings, batch_size=find_batch_size(encoder, items, settings, fabric.device))


def find_batch_size(
    encoder: Callable[[Tensor], Tensor], items: Any, settings: CertificationSettings, device: torch.device
) -> int:
    """Finds the fastest batch size on `device` for the first readable item; 1 if there is none."""
    readable = (item["waveform"] for item in map(items.__getitem__, range(len(items))) if "error" not in item)
    waveform = next(readable, None)
    if waveform is None:
        return 1
    with torch.inference_mode():
        return fastest_batch_size(encoder, waveform.to(device), max(settings.num_select, settings.num_estimate))


def build_certifier(encoder: nn.Module, recognizer: Any, settings: CertificationSettings, encoder_id: str) -> Certifier:
    """Makes the certifier of an encoder and its enrolled speakers."""
    return Certifier(
        encoder,
        recognizer.prototypes,
        recognizer.speakers,
        sigma=settings.sigma,
        alpha=settings.alpha,
        num_select=settings.num_select,
        num_estimate=settings.num_estimate,
        num_looks=settings.num_looks,
        rules=settings.rules,
        batch_size=settings.batch_size,
        seed=settings.seed,
        num_thresholds=settings.num_thresholds,
        target_radius=settings.target_radius,
        tolerance=settings.tolerance,
        encoder_id=encoder_id,
        noise_at=settings.noise_at,
    )


def _plan(data: SpeakerData, settings: CertificationSettings) -> list[Task[int]]:
    """A task for every test item: its index, and a row for every rule."""
    tested = data.tested("test")
    return [Task(index, tuple((one.id, rule) for rule in settings.rules)) for index, one in enumerate(tested)]


def _accuracy_so_far(rows: Sequence[Certificate], settings: CertificationSettings) -> str:
    rule = settings.rules[0]
    radius = next((radius for radius in settings.report_radii if radius > 0), 0.0)
    own = [row for row in rows if row.rule == rule]
    return f"{rule}: CA at {radius:.3g} = {certified_accuracy(own, [radius])[0]:.2f}" if own else ""


def _certify_and_keep(certifier: Certifier, item: dict[str, Any], settings: CertificationSettings) -> list[Certificate]:
    """Certifies an item, and keeps its statistics before its rows say that it is done."""
    rows, statistics = certify_item(certifier, item, settings.samples)
    if settings.keep_statistics and statistics is not None:
        write_statistics(settings.output_dir, item["utterance"], statistics)
    return rows


def certify_item(
    certifier: Certifier, item: dict[str, Any], samples: tuple[int, int] | None = None
) -> tuple[list[Certificate], Statistics | None]:
    """Certifies an item of a data module; one whose audio cannot be read becomes rows that say why.

    Args:
        certifier: With the settings.
        item: Of the data module.
        samples: As for `Certifier.examine`.

    Returns:
        A row for each rule, and the statistics that they follow from; None where there are none.
    """
    if "error" in item:
        return certifier.failed(item["utterance"], item["speaker"], item["error"]), None
    return certifier.examine(item["waveform"], item["utterance"], item["speaker"], samples)
