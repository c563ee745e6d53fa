"""What it is worth that glibc keeps freed memory: processor time and page faults of forwards and of training steps.

Each way runs in a process of its own, since an allocator cannot be set back; processor time, user's and system's, does
not depend on what else the machine does as much as wall-clock time does.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import torch

from voxcert.encoders import load_encoder
from voxcert.evaluation.run.processes import keep_freed_memory

TIME = 48_000


def measure(source: str, batch: int, repeats: int, train: bool) -> dict[str, float]:
    """Milliseconds of processor time and page faults for each waveform of 3 s, and the peak memory in MiB."""
    torch.set_num_threads(1)
    encoder = load_encoder(source)
    encoder.requires_grad_(train)
    waveform = 0.1 * torch.randn(batch, TIME)

    def step() -> None:
        with torch.set_grad_enabled(train):
            embedding = encoder(waveform)
            if train:
                embedding.sum().backward()

    step()
    before = resource.getrusage(resource.RUSAGE_SELF)
    for _ in range(repeats):
        step()
    after = resource.getrusage(resource.RUSAGE_SELF)
    count = batch * repeats
    return {
        "user": 1000 * (after.ru_utime - before.ru_utime) / count,
        "system": 1000 * (after.ru_stime - before.ru_stime) / count,
        "page faults": (after.ru_minflt - before.ru_minflt) / count,
        "peak MiB": after.ru_maxrss / 1024,
    }


def main() -> None:
    """Prints a line for each source, step and way."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sources", nargs="*", default=["checkpoints/ecapa-mini"])
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=4)
    parser.add_argument("--one", nargs=3, metavar=("SOURCE", "STEP", "WAY"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        source, step, way = given.one
        if way == "kept":
            keep_freed_memory()
        print(json.dumps(measure(source, given.batch, given.repeats, step == "training step")))
        return
    results = {}
    for source in given.sources:
        for step in ("forward", "training step"):
            for way in ("given back", "kept"):
                command = [sys.executable, __file__, "--one", source, step, way]
                command += ["--batch", str(given.batch), "--repeats", str(given.repeats)]
                printed = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ).stdout
                name = Path(source).stem
                result = results[f"{name}, {step}, {way}"] = json.loads(printed)
                print(f"{name:24} {step:14} {way:11}", *(f"{key} {value:.1f}" for key, value in result.items()))
    path = Path(__file__).parent / "results" / "memory-cpu.json"
    path.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
