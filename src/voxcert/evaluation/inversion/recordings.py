"""The recordings of the speakers that a network was trained to name: how well it names them, and where they lie.

d-vectors of recordings are those of Ravanelli and Bengio 2018 (the mean of unit vectors of chunks); baselines are those
of Pizzi et al. 2023 (arXiv 2301.03206, sec. 4): accuracy on averaged samples, and distance within a speaker.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from voxcert.data.corpus import Utterance
from voxcert.data.datamodule import SpeakerDataModule
from voxcert.data.enrollment import by_speaker
from voxcert.data.identity import labels_hash
from voxcert.encoders.sincnet import SincNet
from voxcert.evaluation.inversion.system import InvertedSystem

HOP = 1600
"""Samples between the chunks of recordings."""
SEGMENT = 10
"""Chunks of a stretch of speech that gets a d-vector of its own: a second."""


@dataclass(frozen=True)
class Recordings:
    """What the speakers said, by speaker, in the order of the classes.

    Attributes:
        speakers: Their names.
        trained: Chunks that the network may have been trained on, (chunks, chunk_samples) for each speaker.
        held_out: Chunks that it was not; empty where the corpus has none.
        d_vectors: Those of `trained`, (chunks, dim) for each speaker, of any norm.
    """

    speakers: list[str]
    trained: list[Tensor]
    held_out: list[Tensor]
    d_vectors: list[Tensor]

    def references(self, least_energy: float) -> list[Tensor]:
        """Unit d-vectors of every speaker's seconds of speech, (seconds, dim), or of all where there is less than one.

        Args:
            least_energy: Chunks with less than this share of the mean energy are left out.
        """
        found = []
        for chunks, d_vectors in zip(self.trained, self.d_vectors, strict=True):
            energy = chunks.square().sum(dim=-1)
            unit = F.normalize(d_vectors, dim=-1)[energy >= least_energy * energy.mean()]
            groups = unit.split(SEGMENT)
            whole = [group for group in groups if len(group) == SEGMENT] or groups
            found.append(F.normalize(torch.stack([group.mean(dim=0) for group in whole]), dim=-1))
        return found


def check_classes(data: SpeakerDataModule, card: dict[str, Any]) -> None:
    """Checks that the training speakers are those whom a network was trained to name: its weights do not say.

    Args:
        data: With the training speakers.
        card: Of the network's checkpoint; an older one, which does not say whom it names, fits any.

    Raises:
        ValueError: If they are others, or in another order.
    """
    named = card.get("training", {}).get("classes")
    if named not in (None, labels_hash(data.classes)):
        few = ", ".join(list(data.classes)[:3])
        raise ValueError(
            "data must have the speakers that the network was trained to name (the same corpus, parts, numbers of "
            f"speakers held out, and seed), got {len(data.classes)} others or in another order: {few}, ..."
        )


def read_recordings(data: SpeakerDataModule, network: SincNet) -> Recordings:
    """Reads the training speakers' recordings; those of the corpus outside the training parts are held out.

    Raises:
        ValueError: If the network does not have one class for each training speaker, or one is too short for a chunk.
        AudioError: If a file is bad.
    """
    trained = by_speaker(data.split.train)
    num_classes = network.config["init_args"]["num_classes"]
    if len(trained) != num_classes:
        raise ValueError(f"data must have the {num_classes} speakers that the network names, got {len(trained)}")
    known = {one.id for own in trained.values() for one in own}
    others = by_speaker(one for one in data.corpus.utterances() if one.id not in known)
    chunks, d_vectors, device = [], [], next(network.parameters()).device
    for own in tqdm(trained.values(), "reading", unit="speaker", leave=False):
        chunks.append(_chunks(own, network).to(device))
        if not len(chunks[-1]):
            raise ValueError(f"data must have a chunk of each speaker, {own[0].speaker!r} has none")
        with torch.no_grad():
            d_vectors.append(network.d_vectors(chunks[-1]))
    held_out = [_chunks(others.get(speaker, []), network).to(device) for speaker in trained]
    return Recordings(list(trained), chunks, held_out, d_vectors)


def stretches(utterances: list[Utterance], num_samples: int) -> Tensor:
    """Cuts utterances into stretches (stretches, num_samples), one after the other; to start inversion from.

    Raises:
        ValueError: If none is long enough.
    """
    waveforms = [one.load() for one in utterances]
    cut = [wave.unfold(0, num_samples, num_samples) for wave in waveforms if len(wave) >= num_samples]
    if not cut:
        raise ValueError(f"speech must have utterances of at least {num_samples} samples, got none")
    return torch.cat(cut)


def baselines(recordings: Recordings, system: InvertedSystem) -> dict[str, Any]:
    """How well the system names its speakers, and how far apart a speaker's d-vectors lie.

    Returns:
        `frame_error` and `utterance_error` (by the mean posterior) for `held_out` and, where no noise makes it slow,
        for `trained`; the accuracy on the speakers' averaged chunks and d-vectors, trained on and `held_out`, and
        the mean distance between two d-vectors of one speaker. What is held out is left out where there is nothing.
    """
    result: dict[str, Any] = {}
    if system.settings.sigma is None:
        result["trained"] = _errors([system.released(own, d_vectors=True) for own in recordings.d_vectors], system)
    heard = tqdm(recordings.held_out, "held out", unit="speaker", leave=False)
    spoken = [index for index, own in enumerate(recordings.held_out) if len(own)]
    if spoken:
        result["held_out"] = _errors([system.released(own) if len(own) else own for own in heard], system)
    everybody = list(range(len(recordings.speakers)))
    result["averaged_chunks_accuracy"] = _averaged_accuracy(recordings.trained, everybody, system)
    result["averaged_d_vectors_accuracy"] = _averaged_accuracy(recordings.d_vectors, everybody, system, d_vectors=True)
    if spoken:
        chunks = [recordings.held_out[index] for index in spoken]
        with torch.no_grad():
            d_vectors = [system.network.d_vectors(own) for own in chunks]
        result["held_out_averaged_chunks_accuracy"] = _averaged_accuracy(chunks, spoken, system)
        result["held_out_averaged_d_vectors_accuracy"] = _averaged_accuracy(d_vectors, spoken, system, d_vectors=True)
    references = recordings.references(system.network.least_energy)
    within = torch.cat([F.pdist(own) for own in references if len(own) > 1] or [references[0].new_empty(0)])
    return result | {"within_speaker_distance": float(within.mean()) if len(within) else None}


def _averaged_accuracy(
    samples: list[Tensor], classes: list[int], system: InvertedSystem, *, d_vectors: bool = False
) -> float:
    """Share of the speakers who are named from the mean of their samples, (samples, dim) for each."""
    posteriors = system.released(torch.stack([own.mean(dim=0) for own in samples]), d_vectors=d_vectors)
    return _share(system.named(posteriors[:, None]) == torch.tensor(classes, device=posteriors.device))


def _errors(posteriors: list[Tensor], system: InvertedSystem) -> dict[str, Any]:
    """Errors over chunks and over speakers, from posteriors (chunks, classes) of each; some may have no chunk."""
    spoken = [(index, own) for index, own in enumerate(posteriors) if len(own)]
    frames = torch.cat([system.named(own[:, None]) != index for index, own in spoken])
    speakers = torch.stack([system.named(own) != index for index, own in spoken])
    return {
        "frame_error": _share(frames),
        "utterance_error": _share(speakers),
        "speakers": len(speakers),
        "frames": len(frames),
    }


def _share(wanted: Tensor) -> float:
    return float(wanted.float().mean())


def _chunks(utterances: list[Utterance], network: SincNet) -> Tensor:
    size = network.chunk_samples
    waveforms = [one.load() for one in utterances]
    cut = [wave.unfold(0, size, HOP) for wave in waveforms if len(wave) >= size]
    return torch.cat(cut) if cut else torch.empty(0, size)
