"""Inverts a batch of speakers in one experiment, keeps what came out, and measures it: one row for each speaker.

The methods are those of Pizzi et al. 2023 (arXiv 2301.03206, sec. 3).
"""

import json
import zlib
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from voxcert.attacks.inversion.descent import Inverted, invert, sliding_inversion
from voxcert.evaluation.inversion.row import InversionRow
from voxcert.evaluation.inversion.settings import Experiment
from voxcert.evaluation.inversion.system import NOBODY, InvertedSystem
from voxcert.evaluation.run.audio_files import write_rounded
from voxcert.evaluation.run.folder import file_name

INVERTED = "inverted.safetensors"
PEAK = 0.5  # of audio files; the network normalises every chunk, so their loudness is free

Batch = tuple[Experiment, list[int]]
"""An experiment, and the classes that are inverted together."""


class Inverter:
    """What inverts, and what it is measured against.

    Args:
        system: The network, defended or not, with the settings.
        speakers: Names of its classes.
        references: Unit d-vectors (seconds, dim) of every speaker's recordings.
        speech: Stretches (stretches, start_samples) of other speakers, for starts that are made of speech; or None.
        encoder_id: Hash of the network.
    """

    def __init__(
        self,
        system: InvertedSystem,
        speakers: list[str],
        references: list[Tensor],
        speech: Tensor | None = None,
        encoder_id: str = "",
    ):
        self.system, self.settings = system, system.settings
        self.speakers, self.references, self.speech, self.encoder_id = speakers, references, speech, encoder_id

    def rows(self, about: Batch) -> list[InversionRow]:
        """Inverts speakers together, keeps what came out, and measures it."""
        experiment, batch = about
        begin = perf_counter()
        self.system.reseed(experiment.title, self.speakers[batch[0]])
        targets = torch.tensor(batch, device=self.system.device)
        start = torch.stack([self._start(experiment, index) for index in batch]).to(targets.device)
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
        descent, window = self.settings.descent(experiment.step_size), self.system.network.chunk_samples
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
            found.steps.unflatten(0, (-1, count)).sum(dim=1),
        )

    def _start(self, experiment: Experiment, index: int) -> Tensor:
        """Depends on seed, speaker and start alone."""
        key = [self.settings.seed, zlib.crc32(self.speakers[index].encode())]
        size = self.system.network.dim if experiment.method == "d_vector" else self.settings.start_samples
        return experiment.start.draw(size, np.random.default_rng(key), self.speech)

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
        row |= {"steps": int(inverted.steps[place]), "encoder": self.encoder_id, "seed": self.settings.seed}
        if not (posteriors.isfinite().all() and d_vector.isfinite().all() and np.isfinite(cost)):
            return InversionRow(**row, failed="the descent left the range of numbers")
        distances = (self.references[index] - d_vector).norm(dim=-1)
        named = int(self.system.named(posteriors))
        return InversionRow(
            **row,
            named=None if named == NOBODY else self.speakers[named],
            chunk_accuracy=float((self.system.named(posteriors[:, None]) == index).float().mean()),
            posterior=float(posteriors[:, index].mean()),
            cost=cost,
            distance=float(distances.mean()),
            nearest=float(distances.min()),
        )

    def _keep(self, experiment: Experiment, batch: list[int], waveforms: Tensor) -> None:
        """Writes audio files, each to the same peak."""
        if self.settings.keep:
            for index, waveform in zip(batch, waveforms, strict=True):
                name = f"audio/{experiment.title}/{file_name(self.speakers[index])}.flac"
                scaled = PEAK * waveform / waveform.abs().amax().clamp_min(1e-12)
                write_rounded(Path(self.settings.output_dir) / name, scaled.nan_to_num())

    def _part(self, experiment: Experiment, index: int) -> Path:
        name = file_name(self.speakers[index])
        return Path(self.settings.output_dir) / "parts" / experiment.title / f"{name}.safetensors"

    def collect(self, classes: Sequence[int]) -> dict[str, Tensor]:
        """Gathers what was inverted of these classes in one file.

        Returns:
            Unit d-vectors (speakers, dim) by experiment.
        """
        found: dict[str, dict[str, list[Tensor]]] = {}
        for experiment in self.settings.experiments:
            for index in classes:
                with safe_open(self._part(experiment, index), "pt") as file:
                    for name in file.keys():
                        found.setdefault(name, {}).setdefault(experiment.title, []).append(file.get_tensor(name))
        joined = {name: {title: torch.stack(parts) for title, parts in own.items()} for name, own in found.items()}
        tensors = {f"{name}/{title}": value for name, own in joined.items() for title, value in own.items()}
        names = [self.speakers[index] for index in classes]
        path = Path(self.settings.output_dir) / INVERTED
        save_file(tensors, path, metadata={"speakers": json.dumps(names)})
        return {title: F.normalize(value, dim=-1) for title, value in joined["d_vectors"].items()}
