"""The certification job: enrol speakers, certify test utterances on any number of devices, write rows and a summary.

Certifying and plotting are joined by a flat file of rows, as in Cohen et al. 2019; here the file also lets a run that
was killed go on where it stopped.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning.fabric import Fabric
from torch import nn

from voxcert.columns import Columns
from voxcert.encoders.base import Recognizer
from voxcert.evaluation.certification.figures import plot_certified_accuracy
from voxcert.evaluation.certification.folder import PLOT, write_statistics
from voxcert.evaluation.certification.parts import certify_in_parts
from voxcert.evaluation.certification.settings import CertificationSettings
from voxcert.evaluation.certification.system import enrolled, kept_embeddings
from voxcert.evaluation.certification.tables import by_rule, summarize
from voxcert.evaluation.run.folder import write_summary
from voxcert.evaluation.run.job import UNKNOWN, Provenance, SpeakerData, Task, do_tasks
from voxcert.evaluation.run.processes import computed_on
from voxcert.evaluation.run.speed import in_precision
from voxcert.evaluation.show.tables import floored, shown_radius
from voxcert.smoothing.certificate import Certificate
from voxcert.smoothing.certifier import Certifier
from voxcert.smoothing.curves import certified_accuracy
from voxcert.smoothing.statistics import Statistics

Items = Sequence[dict[str, Any]]


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
    provenance = provenance.of(encoder)
    with enrolled(encoder, data, settings, provenance) as system:
        settings, items, fabric = system.settings, system.items, system.fabric
        certifier = build_certifier(system.recognizer, settings, provenance.encoder_id)
        certify = _by_samples if settings.split == "samples" else _by_utterances
        rows = certify(certifier, data, items, settings, fabric)
        if not fabric.is_global_zero:
            return None
        summary = system.described(provenance) | summarize_run(rows, settings.report_radii)
        summary["timing"] |= computed_on(fabric)
        write_summary(settings.output_dir, summary)
        plot_certified_accuracy(rows, Path(settings.output_dir) / PLOT)
        return summary


def _by_utterances(
    certifier: Certifier, data: SpeakerData, items: Items, settings: CertificationSettings, fabric: Fabric
) -> Sequence[Certificate]:
    """Processes share the utterances."""
    return do_tasks(
        _plan(data, settings),
        lambda index: _certify_and_keep(certifier, items[index], settings),
        Certificate,
        settings.output_dir,
        fabric,
        verb="certifying",
        unit="utterance",
        note=lambda index, rows: _accuracy_so_far(rows, settings),
        log_format=settings.log_format,
    )


def _by_samples(
    certifier: Certifier, data: SpeakerData, items: Items, settings: CertificationSettings, fabric: Fabric
) -> Sequence[Certificate]:
    """Processes share the samples of every utterance."""
    utterances = [one.id for one in data.tested("test")]
    whole = certify_in_parts(
        utterances, lambda index, samples: certify_item(certifier, items[index], samples), settings, fabric
    )
    for utterance, (_, statistics) in zip(utterances, whole, strict=False):  # in the first process there are all
        if settings.keep_statistics and statistics is not None:
            write_statistics(settings.output_dir, utterance, statistics)
    return [row for rows, _ in whole for row in rows]


def summarize_run(rows: Sequence[Certificate], radii: list[float]) -> dict[str, Any]:
    """Summarises all rows of a run; what depends on the machine's speed is under `timing`."""
    rows = Columns.of(Certificate, rows)
    passes = {utterance: place for place, utterance in enumerate(rows.column("utterance"))}  # one serves all rules
    spent = rows.take(passes.values())
    forwards, seconds = int(spent.column("num_forwards").sum()), sum(spent.column("seconds").tolist())
    return {
        "num_utterances": len(passes),
        "num_failed": int((spent.column("num_forwards") == 0).sum()),
        "total_forwards": forwards,
        "mean_forwards": forwards / max(len(passes), 1),
        "rules": summarize(rows, radii),
        "timing": {"seconds": seconds, "forwards_per_second": forwards / seconds if seconds else 0.0},
    }


def build_certifier(
    recognizer: Recognizer,
    settings: CertificationSettings,
    encoder_id: str,
    kind: type[Certifier] = Certifier,
) -> Certifier:
    """Makes the certifier of an encoder and its enrolled speakers."""
    return kind(
        recognizer.encoder,
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
        encoder_id=in_precision(encoder_id, settings.precision),
        noise_at=settings.noise_at,
        kept=kept_embeddings(settings, encoder_id),
    )


def _plan(data: SpeakerData, settings: CertificationSettings) -> list[Task[int]]:
    """A task for every test item: its index, and a row for every rule."""
    tested = data.tested("test")
    return [Task(index, tuple((one.id, rule) for rule in settings.rules)) for index, one in enumerate(tested)]


def _accuracy_so_far(rows: Sequence[Certificate], settings: CertificationSettings) -> str:
    rule = settings.rules[0]
    radius = next((radius for radius in settings.report_radii if radius > 0), 0.0)
    own = by_rule(rows).get(rule)
    return f"{rule}: CA at {shown_radius(radius)} = {floored(certified_accuracy(own, [radius])[0], 2)}" if own else ""


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
