"""How much faster SSED forges utterances than ten steps of BIM, which ask the victim for a gradient each time.

The time of BIM is the victim's, that of SSED the generator's, so the ratio depends on both sizes; weights do not matter
here and are random. The ratio is taken inside one run, in processor time on a CPU.
"""

import argparse
import functools
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
import yaml

from voxcert.attacks import SaliencyGenerator, bim, ssed
from voxcert.encoders.base import Recognizer
from voxcert.encoders.checkpoint import build_encoder

GENERATORS = {
    "spectrum": {"window": 512, "channels": [128, 128, 128], "strides": [1, 1, 1], "dilations": [1, 2, 4, 1, 2, 4]},
    "paper": {},
}
VICTIMS = ["ecapa_mini", "fast_resnet34_sap", "ecapa_c512", "campplus", "resnet34"]


def seconds(run: Callable[[], object], repeats: int, device: str) -> float:
    """Median time of a call; the first warms up."""
    clock, times = time.process_time if device == "cpu" else time.perf_counter, []
    for _ in range(repeats + 1):
        begin = clock()
        run()
        if device != "cpu":
            torch.cuda.synchronize()
        times.append(clock() - begin)
    return statistics.median(times[1:])


def main() -> None:
    """Measures every victim against every generator, and writes the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--victims", nargs="+", default=VICTIMS)
    parser.add_argument("--seconds", type=float, default=3.0, help="of an utterance")
    parser.add_argument("--batch_size", type=int, default=1, help="utterances forged together; times are of one")
    parser.add_argument("--speakers", type=int, default=211)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--output", default="benchmarks/results/ssed-cpu.json")
    args = parser.parse_args()
    torch.manual_seed(0)
    waveform = 0.05 * torch.randn(args.batch_size, int(16_000 * args.seconds), device=args.device)
    target = torch.zeros(args.batch_size, dtype=torch.long, device=args.device)
    results = {"device": args.device, "threads": torch.get_num_threads(), "seconds": args.seconds}
    results |= {"batch_size": args.batch_size, "victims": {}}
    for victim in args.victims:
        config = yaml.safe_load(Path(f"configs/encoder/{victim}.yaml").read_text())
        encoder = build_encoder(config).eval().requires_grad_(False).to(args.device)
        prototypes = F.normalize(torch.randn(args.speakers, encoder.dim, device=args.device))
        recognizer = Recognizer(encoder, prototypes, [str(speaker) for speaker in range(args.speakers)])
        attacks = {"bim": bim(epsilon=0.002, steps=10, targeted=True)}
        for name, sizes in GENERATORS.items():
            attacks[f"ssed, {name}"] = ssed(network=SaliencyGenerator(**sizes).eval().to(args.device), targeted=True)
        forge = {name: functools.partial(attack, recognizer, waveform, target) for name, attack in attacks.items()}
        own = {name: seconds(run, args.repeats, args.device) / args.batch_size for name, run in forge.items()}
        own |= {f"ratio, {name}": own["bim"] / own[f"ssed, {name}"] for name in GENERATORS}
        results["victims"][victim] = own
        print(f"{victim}: " + ", ".join(f"{name} {value:.3g}" for name, value in own.items()))
    Path(args.output).write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
