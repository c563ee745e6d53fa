"""How much faster inversion is with speakers in one batch than one by one; the ratio is taken inside one run."""

import argparse
import json
import statistics
import time
from pathlib import Path

import numpy as np
import torch
import yaml

from voxcert.attacks.inversion import Descent, invert
from voxcert.attacks.inversion_starts import Noise
from voxcert.encoders.checkpoint import build_encoder


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
        start = torch.stack([Noise("white").draw(model.chunk_samples, rng) for _ in range(args.speakers)])
        start, targets = start.to(args.device), torch.arange(args.speakers, device=args.device)
        descent = Descent(lr=1e-6, iterations=args.steps, patience=args.steps + 1, threshold=0)  # nothing stops early
        ways = {"batched": args.speakers, "one by one": 1}
        times: dict[str, list[float]] = {way: [] for way in ways}
        for repeat in range(args.repeats + 1):
            for way, size in ways.items():
                begin = time.process_time() if args.device == "cpu" else time.perf_counter()
                for rows in torch.arange(args.speakers).split(size):
                    invert(model.log_posteriors, start[rows], targets[rows], descent).cost.sum().item()
                if repeat:  # the first round warms up
                    times[way].append((time.process_time() if args.device == "cpu" else time.perf_counter()) - begin)
        speeds = {way: args.speakers * (args.steps + 1) / statistics.median(own) for way, own in times.items()}
        results[name] = {**speeds, "ratio": speeds["batched"] / speeds["one by one"]}
        print(f"{name}: {speeds['batched']:.0f} gradients/s batched, {results[name]['ratio']:.2f} times one by one")
    results["unit"] = "gradients per second of CPU time" if args.device == "cpu" else "gradients per second"
    Path(args.output).write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
