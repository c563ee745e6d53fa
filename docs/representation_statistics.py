"""Measures the numbers that noise is added to at a waveform, its magnitudes and its mel energies: how large they are.

    python docs/representation_statistics.py --checkpoint checkpoints/ecapa-mini --output_dir runs/representations

The recordings are those of configs/data/unseen.yaml, four of each speaker, 3 s long.
"""

import argparse
import shlex
import sys
from dataclasses import dataclass

import torch
from torch import Tensor

import voxcert
from voxcert.data import Combined, LibriSpeech, Manifest, SpeakerDataModule
from voxcert.encoders.loading import encoder_hash
from voxcert.encoders.representation import SplitEncoder
from voxcert.evaluation.run.folder import write_summary
from voxcert.evaluation.run.job import do_tasks, started
from voxcert.evaluation.run.tasks import Task
from voxcert.rows import Row

PLACES = ("waveform", "magnitude", "features")
NUM_UTTERANCES = 188
LOW, HIGH = 0.01, 0.99


@dataclass(frozen=True)
class RepresentationRow(Row):
    """One recording at one place where noise may be added.

    Attributes:
        utterance: Id of the utterance.
        speaker: Who speaks.
        noise_at: Where: `waveform`, `magnitude` or `features`.
        size: How many numbers there are.
        smallest: The smallest of them.
        low: A hundredth of them is below it.
        high: A hundredth of them is above it.
        largest: The largest of them.
        mean: Their mean.
        mean_square: The mean of their squares.
    """

    utterance: str
    speaker: str
    noise_at: str
    size: int
    smallest: float
    low: float
    high: float
    largest: float
    mean: float
    mean_square: float

    @property
    def key(self) -> tuple[str, str]:
        """Utterance and place."""
        return self.utterance, self.noise_at


def main(arguments: list[str]) -> None:
    """Writes a row for each recording and place to a run's folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--output_dir", required=True)
    given = parser.parse_args(arguments)
    corpora = {
        "librispeech": LibriSpeech("data/librispeech"),
        "speechocean": Manifest("data/speechocean-adults/manifest.csv"),
    }
    about = {"num_enroll": 5, "crop_seconds": 3, "max_test_utterances": NUM_UTTERANCES}
    data = SpeakerDataModule(Combined(corpora), test_parts=["speechocean/test"], **about)
    encoder = voxcert.load_encoder(given.checkpoint).eval()
    representations = {at: SplitEncoder(encoder, at).represent for at in PLACES[1:]}
    items = data.items("test")

    def measure(index: int) -> list[RepresentationRow]:
        item = items[index]
        waveform = item["waveform"][None]
        with torch.no_grad():
            numbers = {"waveform": waveform} | {at: of(waveform) for at, of in representations.items()}
        return [row_of(item["utterance"], item["speaker"], at, values) for at, values in numbers.items()]

    tasks = [Task(index, tuple((one.id, at) for at in PLACES)) for index, one in enumerate(data.tested("test"))]
    config = {"checkpoint_hash": encoder_hash(encoder), "num_utterances": NUM_UTTERANCES}
    with started(given.output_dir, config, data.plan("test"), "cpu") as fabric:
        do_tasks(tasks, measure, RepresentationRow, given.output_dir, fabric, verb="measuring", unit="utterance")
    command = f"python docs/representation_statistics.py {shlex.join(arguments)}"
    write_summary(given.output_dir, {"command": command, "settings": config})


def row_of(utterance: str, speaker: str, at: str, numbers: Tensor) -> RepresentationRow:
    """Describes the numbers, of any shape, of a recording at one place."""
    ordered = numbers.flatten().double().sort().values
    low, high = (ordered[round(share * (len(ordered) - 1))].item() for share in (LOW, HIGH))
    mean, mean_square = ordered.mean().item(), ordered.square().mean().item()
    ends = ordered[0].item(), low, high, ordered[-1].item()
    return RepresentationRow(utterance, speaker, at, len(ordered), *ends, mean, mean_square)


if __name__ == "__main__":
    main(sys.argv[1:])
