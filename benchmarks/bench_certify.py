"""How much of a certificate's time is the encoder's forward pass, and what the plain way of doing it would cost.

Times, interleaved in one run, (a) the bare encoder at its best batch size, (b) the Certifier, both as they are and in
generated code (`--compile`), and the encoder in onnxruntime where it can be exported, (c) a reference loop in the
manner of published code: batches of 100, embeddings gathered by a growing `torch.cat`, separate passes over the
samples for the mean, the votes and each rival's statistic. Machines are noisy: compare the ratios, not the seconds. On
one thread of a CPU the clock is processor time, which other jobs disturb less.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
import yaml

from bench_onnx import export
from voxcert.encoders import load_encoder, load_onnx
from voxcert.encoders.base import Encoder
from voxcert.encoders.checkpoint import build_encoder
from voxcert.encoders.frontends import KaldiFbank
from voxcert.evaluation.run.processes import keep_freed_memory
from voxcert.evaluation.run.speed import compiled, distance
from voxcert.smoothing.batching import fastest_batch_size
from voxcert.smoothing.certifier import Certifier

SIGMA = 0.01


def reference_pass(encoder: Encoder, waveform: torch.Tensor, num_samples: int, batch: int = 100) -> torch.Tensor:
    """One pass as published code makes it: every embedding is kept, and copied again with every batch."""
    embeddings = torch.empty(0, encoder.dim, device=waveform.device)
    while len(embeddings) < num_samples:
        rows = min(batch, num_samples - len(embeddings))
        repeated = waveform.repeat(rows, 1)
        embeddings = torch.cat([embeddings, encoder(repeated + SIGMA * torch.randn_like(repeated))])
    return embeddings


def reference(encoder: Encoder, prototypes: torch.Tensor, waveform: torch.Tensor, num_samples: int) -> int:
    """The statistics of `vote` and of the embedding rules, each from samples of its own; returns the forwards spent."""
    mean = reference_pass(encoder, waveform, num_samples).mean(dim=0)
    nearest = torch.linalg.vector_norm(mean - prototypes, dim=1).argsort()
    direction = prototypes[nearest[0]] - prototypes[nearest[1]]
    (reference_pass(encoder, waveform, num_samples) @ direction).mean()
    votes = [0] * len(prototypes)
    for embedding in reference_pass(encoder, waveform, num_samples):
        votes[int(torch.linalg.vector_norm(embedding - prototypes, dim=1).argmin())] += 1
    return 3 * num_samples


def clock(device: torch.device) -> Callable[[], float]:
    """Processor time on one thread of a CPU, and the time on the wall elsewhere."""
    return time.process_time if device.type == "cpu" and torch.get_num_threads() == 1 else time.perf_counter


def seconds(function: Callable[[], object], device: torch.device) -> float:
    """Seconds of one call."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = clock(device)()
    function()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return clock(device)() - start


def in_onnxruntime(encoder: Encoder, waveform: torch.Tensor, folder: str) -> Encoder | None:
    """The encoder exported and run by onnxruntime; None if its front-end is not one that ONNX files come with."""
    if not isinstance(getattr(encoder, "frontend", None), KaldiFbank):
        return None
    path = export(encoder.network, encoder.frontend(waveform), Path(folder) / "network.onnx")
    arguments = encoder.config["init_args"]
    return load_onnx(path, window=arguments["window"], scale=arguments["scale"])


@torch.inference_mode()
def measure(encoder: Encoder, device: torch.device, given: argparse.Namespace) -> dict:
    """Measures all ways in turn, `repeats` times, and returns medians and ratios."""
    encoder = encoder.eval().to(device)
    num_select, num_estimate, num_speakers = given.num_select, given.num_estimate, given.num_speakers
    generator = torch.Generator().manual_seed(0)
    waveform = (0.1 * torch.randn(48_000, generator=generator)).to(device)
    prototypes = torch.nn.functional.normalize(torch.randn(num_speakers, encoder.dim, generator=generator)).to(device)
    batch = given.batch_size or fastest_batch_size(encoder, waveform, num_estimate)
    rules = ("distribution", "mean", "lipschitz", "vote")
    options = {"num_select": num_select, "num_estimate": num_estimate, "rules": rules, "batch_size": batch}
    filled = waveform.repeat(batch, 1)
    noisy = filled + SIGMA * torch.randn(filled.shape, generator=generator).to(device)
    start = time.perf_counter(), time.process_time()
    encoders = {"encoder": encoder} | ({} if given.plain else {"compiled": compiled(encoder, noisy)})
    compiling = {"seconds": time.perf_counter() - start[0], "processor_seconds": time.process_time() - start[1]}
    with tempfile.TemporaryDirectory() as folder:
        onnx = None if given.plain else in_onnxruntime(encoder, noisy, folder)
    encoders |= {} if onnx is None else {"onnxruntime": onnx}
    certifiers = {
        f"certifier, {name}": Certifier(encoders[name], prototypes, sigma=SIGMA, **options)
        for name in ("encoder", "compiled")
        if name in encoders
    }
    calls = max(1, num_estimate // batch)
    ways: dict[str, Callable[[str], int]] = {
        name: lambda _, one=one: sum(len(one(filled)) for _ in range(calls)) for name, one in encoders.items()
    }
    ways |= {
        name: lambda utterance, one=one: one.certify(waveform, utterance)[0].num_forwards
        for name, one in certifiers.items()
    }
    if not given.plain:
        ways["reference"] = lambda _: reference(encoder, prototypes, waveform, num_estimate)
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for index in range(given.repeats + 1):
        for name, way in ways.items():
            forwards = []
            taken = seconds(lambda: forwards.append(way(f"utterance {index}")), device)  # noqa: B023
            if index:  # the first round warms up
                rates[name].append(forwards[0] / taken)
    speed = {name: statistics.median(values) for name, values in rates.items()}
    ratios = {f"{name} over encoder": speed[name] / speed["encoder"] for name in ways}
    if not given.plain:
        ratios["certifier, compiled over compiled"] = speed["certifier, compiled"] / speed["compiled"]
        per_forward = speed["certifier, encoder"] / speed["reference"]
        # The reference spends three passes on what one pass holds.
        ratios["certificates over reference"] = 3 * num_estimate / (num_select + num_estimate) * per_forward
    return {
        "device": torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else f"cpu, {torch.get_num_threads()} threads",
        "clock": clock(device).__name__,
        "batch_size": batch,
        "num_select": num_select,
        "num_estimate": num_estimate,
        "num_speakers": num_speakers,
        "repeats": given.repeats,
        "freed_memory": "given back" if given.plain else "kept",
        "compiling": compiling,
        "forwards_per_second": speed,
        "distance_from_encoder": {name: distance(one(noisy), encoder(noisy)) for name, one in encoders.items()},
        "ratios": ratios,
    }


def main() -> None:
    """Measures one encoder config, prints JSON and keeps it in benchmarks/results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder", default="configs/encoder/ecapa_mini.yaml", help="an encoder's config")
    parser.add_argument("--checkpoint", help="instead: weights, as for load_encoder")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--num_select", type=int, default=50)
    parser.add_argument("--num_estimate", type=int, default=500)
    parser.add_argument("--num_speakers", type=int, default=211)
    parser.add_argument("--batch_size", type=int, help="the fastest one when left out")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--plain", action="store_true", help="as torch by itself: freed memory is given back, no code")
    options = parser.parse_args()
    if not options.plain:
        keep_freed_memory()
    torch.manual_seed(0)
    if options.checkpoint:
        encoder, name = load_encoder(options.checkpoint), Path(options.checkpoint).stem
    else:
        encoder = build_encoder(yaml.safe_load(Path(options.encoder).read_text()))
        name = Path(options.encoder).stem
    device = torch.device(options.device)
    text = json.dumps({"encoder": name} | measure(encoder, device, options), indent=2)
    plain = "-plain" if options.plain else ""
    target = Path(__file__).parent / "results" / f"certify-{name}-{device.type}{plain}.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
