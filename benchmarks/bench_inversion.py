"""How much faster inversion is with speakers in one batch than one by one; the ratio is taken inside one run."""

import argparse
import json
import statistics
import time
from pathlib import Path

import numpy as np
import torch
import yaml
from torch import Tensor

from voxcert.attacks.inversion.descent import Descent, Model, invert
from voxcert.attacks.inversion.starts import Noise
from voxcert.encoders.checkpoint import build_encoder


def measure(model: Model, start: Tensor, steps: int, args: argparse.Namespace) -> dict[str, float]:
    """Gradients per second, all rows together and row by row, and their ratio."""
    clock = time.process_time if args.device == "cpu" else time.perf_counter
    targets = torch.arange(len(start), device=start.device)
    descent = Descent(step_size=1e-6, steps=steps, patience=steps + 1, threshold=0)  # nothing stops early
    sizes = {"batched": len(start), "one by one": 1}
    times: dict[str, list[float]] = {way: [] for way in sizes}
    for repeat in range(args.repeats + 1):
        for way, size in sizes.items():
            begin = clock()
            for rows in torch.arange(len(start)).split(size):
                invert(model, start[rows], targets[rows], descent).cost.sum().item()
            if repeat:  # the first round warms up
                times[way].append(clock() - begin)
    speeds = {way: len(start) * (steps + 1) / statistics.median(own) for way, own in times.items()}
    return {**speeds, "ratio": speeds["batched"] / speeds["one by one"]}


def main() -> None:
    """Measures every encoder that is named, and writes the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--encoders", nargs="+", default=["sincnet_mini", "sincnet"])
    parser.add_argument("--speakers", type=int, default=40)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--output", default="benchmarks/results/inversion-cpu.json")
    args = parser.parse_args()
    results = {"device": args.device, "threads": torch.get_num_threads(), "speakers": args.speakers}
    for name in args.encoders:
        config = yaml.safe_load(Path(f"configs/encoder/{name}.yaml").read_text())
        model = build_encoder(config).eval().requires_grad_(False).to(args.device)
        rng = np.random.default_rng(0)
        chunks = torch.stack([Noise("white").draw(model.chunk_samples, rng) for _ in range(args.speakers)])
        results[name] = {
            "audio": measure(model.log_posteriors, chunks.to(args.device), args.steps, args),
            "d_vectors": measure(model.classify, torch.zeros(args.speakers, model.dim, device=args.device), 300, args),
        }
        for kind, own in results[name].items():
            print(f"{name}, {kind}: {own['batched']:.0f} gradients/s batched, {own['ratio']:.2f} times one by one")
    results["unit"] = "gradients per second of CPU time" if args.device == "cpu" else "gradients per second"
    Path(args.output).write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
