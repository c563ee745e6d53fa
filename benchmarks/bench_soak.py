"""Certifies for half an hour in one process, and records what must not grow: memory, open files, threads.

The run is a real one, with recordings on a disk and rows forced to it. What grows with its rows is known: the columns
that the first process keeps of them, below half a kilobyte each.
"""

import argparse
import json
import os
import signal
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch

from voxcert.data import Utterance
from voxcert.data.audio import SAMPLE_RATE
from voxcert.data.identity import planned
from voxcert.encoders.ecapa import ECAPA
from voxcert.evaluation.certification import CertificationSettings, certify_speakers
from voxcert.evaluation.run.folder import ROWS

SPEAKERS = 5
WIDTHS = {"channels": 16, "mfa_channels": 24, "dim": 12, "attention_channels": 8, "se_channels": 8}
WARM_UP = 1 / 6
"""Share of the time that is left out of the slopes: libraries load what they need at the first use."""


class Recordings(Sequence[dict[str, Any]]):
    """Very many utterances of few speakers, each read from its speaker's file."""

    def __init__(self, folder: Path, number: int):
        noise = np.random.default_rng(0)
        self.paths = [folder / f"speaker{one}.wav" for one in range(SPEAKERS)]
        for path in self.paths:
            soundfile.write(path, 0.1 * noise.standard_normal(SAMPLE_RATE), SAMPLE_RATE)
        self.utterances = [self._utterance(one) for one in range(number)]

    def _utterance(self, number: int) -> Utterance:
        path = self.paths[number % SPEAKERS]
        return Utterance(f"recording{number}", path, path.stem)

    def enrollment_dataloader(self, stage: str) -> list[dict[str, Any]]:
        """One batch, an utterance for each speaker."""
        first = [self[one] for one in range(SPEAKERS)]
        waveforms = torch.stack([one["waveform"] for one in first])
        return [{"waveform": waveforms, "speaker": [one["speaker"] for one in first]}]

    def tested(self, stage: str) -> list[Utterance]:
        """All utterances."""
        return self.utterances

    def plan(self, stage: str) -> list[Any]:
        """All utterances."""
        return planned([], self.utterances)

    def items(self, stage: str) -> "Recordings":
        """All utterances, read when they are asked for."""
        return self

    def __len__(self) -> int:
        return len(self.utterances)

    def __getitem__(self, index: int) -> dict[str, Any]:
        one = self.utterances[index]
        return {"utterance": one.id, "speaker": one.speaker, "waveform": one.load()}


def measure(rows: Path, start: float) -> dict[str, float]:
    """What this process has at the moment."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    with rows.open("rb") as file:
        num_rows = sum(1 for _ in file)
    return {
        "minute": (time.monotonic() - start) / 60,
        "memory_bytes": pages * os.sysconf("SC_PAGE_SIZE"),
        "open_files": len(os.listdir("/proc/self/fd")) - 1,  # without the one that lists them
        "threads": len(os.listdir("/proc/self/task")),
        "rows": num_rows,
        "processor_seconds": time.process_time(),
    }


def watch(rows: Path, minutes: float, every: float, output: Path) -> None:
    """Measures every so many seconds from the first row on, and asks the run to stop when its time is over."""
    while not rows.exists() or not rows.stat().st_size:
        time.sleep(0.2)
    start, samples = time.monotonic(), []
    while not samples or samples[-1]["minute"] < minutes:
        samples.append(measure(rows, start))
        results = {"minutes": minutes, "slopes_per_hour": slopes(samples), "samples": samples}
        output.write_text(json.dumps(results, indent=1) + "\n")
        time.sleep(every)
    os.kill(os.getpid(), signal.SIGTERM)


def slopes(samples: list[dict[str, float]]) -> dict[str, float]:
    """By how much everything grows in an hour, after the warm-up (least squares)."""
    warm = [one for one in samples if one["minute"] >= WARM_UP * samples[-1]["minute"]]
    if len(warm) < 2:
        return {}
    hours = np.array([one["minute"] / 60 for one in warm])
    names = ("memory_bytes", "open_files", "threads", "rows")
    return {name: float(np.polyfit(hours, [one[name] for one in warm], 1)[0]) for name in names}


def main() -> None:
    """Certifies, measures, and writes JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--every", type=float, default=15.0, help="seconds between two measurements")
    parser.add_argument("--num_utterances", type=int, default=50_000)
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/soak-cpu.json"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "run"
        data = Recordings(Path(name), options.num_utterances)
        settings = CertificationSettings(
            str(folder), sigma=0.05, num_select=16, num_estimate=48, batch_size=16, accelerator="cpu", compile=False
        )
        watched = (folder / ROWS, options.minutes, options.every, options.output)
        threading.Thread(target=watch, args=watched, daemon=True).start()
        try:
            certify_speakers(ECAPA(**WIDTHS).eval(), data, settings)
        except SystemExit:  # asked to stop
            pass
        else:
            raise SystemExit(f"all {options.num_utterances} utterances were certified: ask for more")
    print(json.dumps(json.loads(options.output.read_text())["slopes_per_hour"], indent=2))


if __name__ == "__main__":
    main()
