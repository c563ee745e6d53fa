"""The inversion job: reconstruct every training speaker from an identification network, and measure what came out.

Pizzi et al. 2023 (arXiv 2301.03206): audio from the whole network, standard and sliding, and d-vectors from its
classifier block.
"""

import json
import zlib
from contextlib import closing
from dataclasses import asdict, dataclass
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from time import perf_counter
from typing import Any
from urllib.parse import quote

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from tqdm import tqdm

from voxcert.attacks.inversion import Inverted, invert, sliding_inversion
from voxcert.data.corpus import Corpus
from voxcert.data.datamodule import SpeakerDataModule
from voxcert.encoders.base import Encoder
from voxcert.encoders.sincnet import SincNet
from voxcert.evaluation.devices import device_name, launch
from voxcert.evaluation.invert_plots import accuracy_figure, components_figure
from voxcert.evaluation.invert_report import describe_baselines, inversion_table, summarize_inversions
from voxcert.evaluation.invert_rows import InversionRow, read_inversions, rewrite_inversions
from voxcert.evaluation.invert_settings import Experiment, InversionSettings
from voxcert.evaluation.invert_speech import baselines, read_recordings, stretches
from voxcert.evaluation.invert_victim import InvertedSystem
from voxcert.evaluation.kept_audio import write_rounded
from voxcert.evaluation.run_folder import check_settings, comparable, open_rows, write_config, write_summary

TABLE, INVERTED = "table.md", "inverted.safetensors"
PEAK = 0.5  # of audio files; the network normalises every chunk, so their loudness is free


def invert_speakers(
    encoder: Encoder,
    data: SpeakerDataModule,
    speech: Corpus | None,
    settings: InversionSettings,
    *,
    encoder_id: str = "",
    origin: dict[str, Any] | None = None,
    command: str = "",
) -> dict[str, Any]:
    """Inverts the training speakers of an identification network.

    Batches of speakers that `settings.output_dir` has already are skipped, so a run that was killed is continued by
    the same call, to the same rows up to rounding; under a random defence, with the same batch size.

    Args:
        encoder: SincNet with one class for each training speaker of `data`, in that order.
        data: Its training speakers.
        speech: Whose speech starts are made of; nobody that the network names.
        settings: Experiments, defence and folder.
        encoder_id: Hash of the network; stands in every row, and a continued run must have the same.
        origin: What made encoder and data, as plain values: kept in config.yaml, and compared on a restart.
        command: The command line, for the summary.

    Returns:
        The summary that is in summary.json too.

    Raises:
        ValueError: If the encoder is no identification network or has other speakers, the folder holds a run with other
            settings, `samples` makes no whole chunk, or a start needs speech that is not there.
    """
    if not isinstance(encoder, SincNet):
        raise ValueError(f"encoder must be SincNet, which has posteriors to invert, got {type(encoder).__name__}")
    if settings.samples < 2 * encoder.chunk_samples:
        least = 2 * encoder.chunk_samples
        raise ValueError(f"samples must be at least {least}, two chunks, got {settings.samples}")
    config = {**(origin or {}), "checkpoint_hash": encoder_id, **_plain(settings)}
    check_settings(settings.output_dir, config)
    device = launch(settings.accelerator, 1, 1).device
    system = InvertedSystem(encoder.to(device).eval(), settings)
    recordings = read_recordings(data, encoder)
    references = recordings.references(encoder.least_energy)
    others = None
    if speech is not None:
        known = set(recordings.speakers)
        others = [one for one in speech.utterances() if one.speaker not in known]
    write_config(settings.output_dir, config)
    job = _Job(system, settings, recordings.speakers, references, device, encoder_id)
    rows = job.run(None if others is None else stretches(others, settings.samples))
    summaries = summarize_inversions(rows)
    system.reseed("baselines")
    measured = baselines(recordings, system)
    summary = {
        "command": command,
        "settings": comparable(config),
        "checkpoint_hash": encoder_id,
        "num_speakers": len(recordings.speakers),
        "versions": {name: version(name) for name in ("torch", "numpy", "colorednoise")},
        "baselines": measured,
        "experiments": summaries,
        "device": device_name(device),
    }
    write_summary(settings.output_dir, summary)
    folder, lrs = Path(settings.output_dir), {one.title: one.lr for one in settings.experiments}
    (folder / TABLE).write_text(f"{describe_baselines(measured)}\n\n{inversion_table(summaries, lrs)}\n")
    found = job.collect()
    accuracy_figure(summaries).savefig(folder / "accuracy.png", dpi=150)
    components_figure(torch.cat(references).cpu(), found).savefig(folder / "components.png", dpi=150)
    return summary


@dataclass
class _Job:
    """One run: the speakers in batches, experiment by experiment."""

    system: InvertedSystem
    settings: InversionSettings
    speakers: list[str]
    references: list[Tensor]
    device: torch.device
    encoder_id: str

    def run(self, speech: Tensor | None) -> list[InversionRow]:
        """Inverts all batches that are not done yet, and writes their rows at once; returns all rows."""
        jobs = [(experiment, batch) for experiment in self.settings.experiments for batch in self._batches()]
        rows, num_done = self._finished(jobs)
        progress = tqdm(jobs[num_done:], "inverting", initial=num_done, total=len(jobs), unit="batch")
        with closing(open_rows(self.settings.output_dir, rank=0)) as writer:
            for experiment, batch in progress:
                progress.set_postfix_str(experiment.title)
                new = self._invert(experiment, batch, speech)
                writer.write(new)
                rows += new
        return rows

    def collect(self) -> dict[str, Tensor]:
        """Gathers what was inverted in one file, and returns unit d-vectors (speakers, dim) by experiment."""
        found: dict[str, dict[str, list[Tensor]]] = {}
        for experiment in self.settings.experiments:
            for index in chain.from_iterable(self._batches()):
                with safe_open(self._part(experiment, index), "pt") as file:
                    for name in file.keys():
                        found.setdefault(name, {}).setdefault(experiment.title, []).append(file.get_tensor(name))
        joined = {name: {title: torch.stack(parts) for title, parts in own.items()} for name, own in found.items()}
        tensors = {f"{name}/{title}": value for name, own in joined.items() for title, value in own.items()}
        names = [self.speakers[index] for batch in self._batches() for index in batch]
        path = Path(self.settings.output_dir) / INVERTED
        save_file(tensors, path, metadata={"speakers": json.dumps(names)})
        return {title: F.normalize(value, dim=-1) for title, value in joined["d_vectors"].items()}

    def _batches(self) -> list[list[int]]:
        """Classes to invert together."""
        count = self.settings.num_speakers or len(self.speakers)
        if count > len(self.speakers):
            raise ValueError(f"num_speakers must be at most {len(self.speakers)}, got {count}")
        order = np.random.default_rng(self.settings.seed).permutation(len(self.speakers))[:count]
        chosen, size = sorted(order.tolist()), self.settings.batch_size
        return [chosen[start : start + size] for start in range(0, count, size)]

    def _invert(self, experiment: Experiment, batch: list[int], speech: Tensor | None) -> list[InversionRow]:
        begin = perf_counter()
        self.system.reseed(experiment.title, self.speakers[batch[0]])
        targets = torch.tensor(batch, device=self.device)
        start = torch.stack([self._start(experiment, index, speech) for index in batch]).to(self.device)
        inverted = self._descend(experiment, start, targets)
        if experiment.method == "d_vector":
            d_vectors, posteriors = inverted.points, self.system.released(inverted.points, d_vectors=True)[:, None]
            tensors = {"d_vectors": d_vectors}
        else:
            network = self.system.network
            chunks = network.chunks(inverted.points)  # (batch, chunks, chunk_samples)
            posteriors = self.system.released(chunks.flatten(0, 1)).unflatten(0, chunks.shape[:2])
            with torch.no_grad():
                d_vectors = network(inverted.points)
            tensors = {"d_vectors": d_vectors, "waveforms": inverted.points}
            self._keep(experiment, batch, inverted.points)
        for place, index in enumerate(batch):
            part = self._part(experiment, index)
            part.parent.mkdir(parents=True, exist_ok=True)
            save_file({name: value[place].cpu().contiguous() for name, value in tensors.items()}, part)
        seconds = (perf_counter() - begin) / len(batch)
        unit = F.normalize(d_vectors, dim=-1)
        return [
            self._row(experiment, index, posteriors[place], unit[place], inverted, place, seconds)
            for place, index in enumerate(batch)
        ]

    def _descend(self, experiment: Experiment, start: Tensor, targets: Tensor) -> Inverted:
        descent, window = self.settings.descent(experiment.lr), self.system.network.chunk_samples
        if experiment.method == "d_vector":
            return invert(lambda points: self.system.descended(points, d_vectors=True), start, targets, descent)
        if experiment.method == "sliding":
            return sliding_inversion(self.system.descended, start, targets, descent, window, self.settings.stride)
        windows = start[:, : start.shape[1] - window].unfold(1, window, window)  # those of the result, each by itself
        count = windows.shape[1]
        found = invert(self.system.descended, windows.flatten(0, 1), targets.repeat_interleave(count), descent)
        return Inverted(
            found.points.unflatten(0, (-1, count)).flatten(1),
            found.cost.unflatten(0, (-1, count)).mean(dim=1),
            found.iterations.unflatten(0, (-1, count)).sum(dim=1),
        )

    def _start(self, experiment: Experiment, index: int, speech: Tensor | None) -> Tensor:
        """Depends on seed, speaker and start alone."""
        key = [self.settings.seed, zlib.crc32(self.speakers[index].encode())]
        size = self.system.network.dim if experiment.method == "d_vector" else self.settings.samples
        return experiment.start.draw(size, np.random.default_rng(key), speech)

    def _row(
        self,
        experiment: Experiment,
        index: int,
        posteriors: Tensor,
        d_vector: Tensor,
        inverted: Inverted,
        place: int,
        seconds: float,
    ) -> InversionRow:
        """The row of one speaker, from the posteriors of its chunks (chunks, classes) and its d-vector (dim,)."""
        cost = float(inverted.cost[place])
        row = {"experiment": experiment.title, "speaker": self.speakers[index], "seconds": seconds}
        row |= {"iterations": int(inverted.iterations[place]), "encoder": self.encoder_id, "seed": self.settings.seed}
        if not (posteriors.isfinite().all() and d_vector.isfinite().all() and np.isfinite(cost)):
            return InversionRow(**row, failed="the descent left the range of numbers")
        distances = (self.references[index] - d_vector).norm(dim=-1)
        return InversionRow(
            **row,
            named=self.speakers[int(posteriors.mean(dim=0).argmax())],
            chunk_accuracy=float((posteriors.argmax(dim=-1) == index).float().mean()),
            posterior=float(posteriors[:, index].mean()),
            cost=cost,
            distance=float(distances.mean()),
            nearest=float(distances.min()),
        )

    def _keep(self, experiment: Experiment, batch: list[int], waveforms: Tensor) -> None:
        """Writes audio files, each to the same peak."""
        if self.settings.keep:
            for index, waveform in zip(batch, waveforms, strict=True):
                name = f"audio/{experiment.title}/{quote(self.speakers[index], safe='')}.flac"
                scaled = PEAK * waveform / waveform.abs().amax().clamp_min(1e-12)
                write_rounded(Path(self.settings.output_dir) / name, scaled.nan_to_num())

    def _part(self, experiment: Experiment, index: int) -> Path:
        name = quote(self.speakers[index], safe="")
        return Path(self.settings.output_dir) / "parts" / experiment.title / f"{name}.safetensors"

    def _finished(self, jobs: list[tuple[Experiment, list[int]]]) -> tuple[list[InversionRow], int]:
        """Rows of the batches that were written in full, and the number of these; one cut short is done again."""
        found, rows, num_done = read_inversions(self.settings.output_dir), [], 0
        for experiment, batch in jobs:
            stretch = found[len(rows) : len(rows) + len(batch)]
            wanted = [(experiment.title, self.speakers[index]) for index in batch]
            if [(row.experiment, row.speaker) for row in stretch] != wanted:
                break
            rows, num_done = rows + stretch, num_done + 1
        if len(rows) < len(found):
            rewrite_inversions(self.settings.output_dir, rows)
        return rows, num_done


def _plain(settings: InversionSettings) -> dict[str, Any]:
    """The settings as YAML has them: a start as class_path and init_args."""
    plain = asdict(settings)
    for described, experiment in zip(plain["experiments"], settings.experiments, strict=True):
        described["start"] = _described(experiment.start)
    return plain


def _described(start: Any) -> dict[str, Any]:
    values = {name: _described(value) if hasattr(value, "draw") else value for name, value in vars(start).items()}
    return {"class_path": f"{type(start).__module__}.{type(start).__qualname__}", "init_args": values}
