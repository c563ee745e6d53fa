"""The inversion job: reconstruct every training speaker from an identification network, and measure what came out.

Pizzi et al. 2023 (arXiv 2301.03206): audio from the whole network, standard and sliding, and d-vectors from its
classifier block.
"""

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from voxcert.data.corpus import Corpus
from voxcert.data.datamodule import SpeakerDataModule
from voxcert.data.identity import planned
from voxcert.encoders.base import Encoder
from voxcert.encoders.sincnet import SincNet
from voxcert.evaluation.inversion.figures import accuracy_figure, components_figure
from voxcert.evaluation.inversion.inverter import Batch, Inverter
from voxcert.evaluation.inversion.recordings import baselines, read_recordings, stretches
from voxcert.evaluation.inversion.row import InversionRow
from voxcert.evaluation.inversion.settings import InversionSettings
from voxcert.evaluation.inversion.system import InvertedSystem
from voxcert.evaluation.inversion.tables import describe_baselines, inversion_table, summarize_inversions
from voxcert.evaluation.run.folder import comparable, write_config, write_summary
from voxcert.evaluation.run.job import UNKNOWN, Provenance, Task, do_tasks, started
from voxcert.evaluation.run.processes import at_hand
from voxcert.evaluation.show.figures import save
from voxcert.smoothing.devices import device_name

TABLE = "table.md"


def invert_speakers(
    encoder: Encoder,
    data: SpeakerDataModule,
    speech: Corpus | None,
    settings: InversionSettings,
    provenance: Provenance = UNKNOWN,
) -> dict[str, Any]:
    """Inverts the training speakers of an identification network.

    Batches of speakers that `settings.output_dir` has already are skipped, so a run that was killed is continued by
    the same call, to the same rows up to rounding; under a random defence, with the same batch size.

    Args:
        encoder: SincNet with one class for each training speaker of `data`, in that order.
        data: Its training speakers.
        speech: Whose speech starts are made of; nobody that the network names.
        settings: Experiments, defence and folder.
        provenance: Hash of the network, and what made it and the data.

    Returns:
        The summary that is in summary.json too.

    Raises:
        ValueError: If the encoder is no identification network or has other speakers, the folder holds a run with other
            settings, `start_samples` makes no whole chunk, `stride` is longer than one, or a start needs speech that is
            not there.
    """
    if not isinstance(encoder, SincNet):
        raise ValueError(f"encoder must be SincNet, which has posteriors to invert, got {type(encoder).__name__}")
    if settings.start_samples < 2 * encoder.chunk_samples:
        least = 2 * encoder.chunk_samples
        raise ValueError(f"start_samples must be at least {least}, two chunks, got {settings.start_samples}")
    if settings.stride > encoder.chunk_samples and any(one.method == "sliding" for one in settings.experiments):
        raise ValueError(f"stride must be at most {encoder.chunk_samples}, a chunk, got {settings.stride}")
    provenance = provenance.of(encoder)
    config = provenance.config(settings)
    for described, experiment in zip(config["experiments"], settings.experiments, strict=True):
        described["start"] = _described(experiment.start)
    config |= {"accelerator": at_hand(settings.accelerator)}
    plan = planned(() if speech is None else speech.utterances(), data.split.train)
    with started(settings.output_dir, config, plan, settings.accelerator) as fabric:
        system = InvertedSystem(encoder.to(fabric.device).eval(), settings)
        recordings = read_recordings(data, encoder)
        references = recordings.references(encoder.least_energy)
        others = None
        if speech is not None:
            known = set(recordings.speakers)
            others = [one for one in speech.utterances() if one.speaker not in known]
        spoken = None if others is None else stretches(others, settings.start_samples)
        found = 0 if spoken is None else len(spoken)
        for one in settings.experiments:
            if (wanted := one.start.num_stretches) > found:
                raise ValueError(f"speech must hold {wanted} stretches for this start, got {found}: {one.title}")
        write_config(settings.output_dir, config)
        inverter = Inverter(system, recordings.speakers, references, spoken, provenance.encoder_id)
        batches = _batches(recordings.speakers, settings)
        rows = do_tasks(
            [
                Task((one, batch), tuple((one.title, recordings.speakers[index]) for index in batch))
                for one in settings.experiments
                for batch in batches
            ],
            inverter.rows,
            InversionRow,
            settings.output_dir,
            fabric,
            verb="inverting",
            unit="batch",
            note=_title,
        )
        summaries = summarize_inversions(rows)
        system.reseed("baselines")
        measured = baselines(recordings, system)
        summary = {
            "command": provenance.command,
            "settings": comparable(config),
            "checkpoint_hash": provenance.encoder_id,
            "num_speakers": len(recordings.speakers),
            "versions": {name: version(name) for name in ("torch", "numpy", "colorednoise")},
            "baselines": measured,
            "experiments": summaries,
            "device": device_name(fabric.device),
        }
        write_summary(settings.output_dir, summary)
        folder, step_sizes = Path(settings.output_dir), {one.title: one.step_size for one in settings.experiments}
        (folder / TABLE).write_text(f"{describe_baselines(measured)}\n\n{inversion_table(summaries, step_sizes)}\n")
        found = inverter.collect([index for batch in batches for index in batch])
        save(accuracy_figure(summaries), folder / "accuracy.png")
        save(components_figure(torch.cat(references).cpu(), found), folder / "components.png")
        return summary


def _title(batch: Batch, rows: Sequence[InversionRow]) -> str:
    return batch[0].title


def _batches(speakers: Sequence[str], settings: InversionSettings) -> list[list[int]]:
    """Classes to invert together."""
    count = settings.num_speakers or len(speakers)
    if count > len(speakers):
        raise ValueError(f"num_speakers must be at most {len(speakers)}, got {count}")
    order = np.random.default_rng(settings.seed).permutation(len(speakers))[:count]
    chosen, size = sorted(order.tolist()), settings.batch_size
    return [chosen[start : start + size] for start in range(0, count, size)]


def _described(start: Any) -> dict[str, Any]:
    """A start as YAML has it: class_path and init_args."""
    values = {name: _described(value) if hasattr(value, "draw") else value for name, value in vars(start).items()}
    return {"class_path": f"{type(start).__module__}.{type(start).__qualname__}", "init_args": values}
