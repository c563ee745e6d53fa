"""How fast every encoder is: batched against one by one, its filterbank against Kaldi's in a loop, a certificate.

Ratios are taken inside one run, from medians of interleaved repetitions. On a GPU every encoder is also timed in
float32, tf32, bf16 and compiled, beside the device's own matrix peak, and certifies one utterance with
`--num_estimate` samples. `--certify` does so on a CPU, in float32; few samples will do there.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import torch
import torchaudio.compliance.kaldi as kaldi
import yaml
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from voxcert.encoders.checkpoint import build_encoder
from voxcert.encoders.frontends import KaldiFbank
from voxcert.smoothing.batching import fastest_batch_size
from voxcert.smoothing.certifier import Certifier

SECONDS = 3
TIME = 16_000 * SECONDS
NUM_ROWS = 64  # utterances of the filterbank's comparison


def seconds(function: Callable[[], object], device: torch.device) -> float:
    """Wall-clock seconds of one call."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    function()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def medians(functions: dict[str, Callable[[], object]], repeats: int, device: torch.device) -> dict[str, float]:
    """Median seconds of each function, called in turn after a first round that does not count."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    for index in range(repeats + 1):
        for name, function in functions.items():
            taken = seconds(function, device)
            if index:
                times[name].append(taken)
    return {name: statistics.median(taken) for name, taken in times.items()}


def measure_filterbank(repeats: int, device: torch.device) -> list[dict]:
    """Times 64 utterances of 0.5, 1 and 3 s through the batched filterbank and through torchaudio's, one by one."""
    batched, results = KaldiFbank().to(device), []
    for length in (0.5, 1.0, 3.0):
        waveform = 0.1 * torch.randn(NUM_ROWS, int(16_000 * length), device=device)

        def looped(rows: Tensor = waveform) -> list[Tensor]:
            options = {"num_mel_bins": 80, "window_type": "hamming", "subtract_mean": True}
            return [kaldi.fbank(32768 * row[None], **options) for row in rows]

        difference = float((batched(waveform) - torch.stack(looped())).abs().max())
        times = medians({"batched": lambda w=waveform: batched(w), "looped": looped}, repeats, device)
        results.append({"seconds": length, **times, "ratio": times["looped"] / times["batched"], "error": difference})
        print(f"filterbank, {NUM_ROWS} x {length:g} s: {results[-1]['ratio']:.1f} times the loop")
    return results


def measure_batching(encoder: nn.Module, num_utterances: int, repeats: int, device: torch.device) -> dict:
    """Utterances of 3 s per second, in one batch and one by one."""
    waveform = 0.1 * torch.randn(num_utterances, TIME, device=device)
    ways = {"batched": lambda: encoder(waveform), "one by one": lambda: [encoder(row[None]) for row in waveform]}
    times = medians(ways, repeats, device)
    speeds = {name: num_utterances / taken for name, taken in times.items()}
    return {**speeds, "ratio": speeds["batched"] / speeds["one by one"]}


def matrix_peak(dtype: torch.dtype, tf32: bool, device: torch.device) -> float:
    """Measured FLOP per second of one large matrix product."""
    size = 8192 if device.type == "cuda" else 2048
    torch.backends.cuda.matmul.allow_tf32 = tf32
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    return 2 * size**3 / medians({"product": lambda: a @ b}, 10, device)["product"]


def measure_precisions(encoder: nn.Module, num_estimate: int, repeats: int, device: torch.device) -> dict:
    """Forwards per second, share of the matrix peak and seconds per certificate, in every precision."""
    with torch.inference_mode(False), torch.no_grad(), FlopCounterMode(display=False) as counter:
        encoder(torch.zeros(1, TIME, device=device))  # in inference mode the counter fails on parametrised weights
    flops, results = counter.get_total_flops(), {"flops": counter.get_total_flops()}
    modes = {"float32": (encoder, torch.float32, False)}
    if device.type == "cuda":
        compiled = torch.compile(encoder, dynamic=False)
        modes |= {
            "tf32": (encoder, torch.float32, True),
            "bf16": (encoder, torch.bfloat16, True),
            "bf16 compiled": (compiled, torch.bfloat16, True),
        }
    for name, (network, dtype, tf32) in modes.items():
        peak = matrix_peak(dtype, tf32, device)
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
        autocast = torch.autocast(device.type, dtype) if dtype == torch.bfloat16 else nullcontext()

        def run(waveform: Tensor, network: nn.Module = network, autocast: torch.autocast = autocast) -> Tensor:
            with autocast:
                return network(waveform)

        one = 0.1 * torch.randn(TIME, device=device)
        batch = fastest_batch_size(run, one, min(512, num_estimate))
        waveform = one.repeat(batch, 1)
        speed = batch / medians({"forward": lambda run=run, w=waveform: run(w)}, repeats, device)["forward"]
        results[name] = {
            "batch_size": batch,
            "forwards_per_second": speed,
            "share_of_peak": speed * flops / peak,
            "certificate_seconds": certificate_seconds(run, encoder.dim, one, batch, num_estimate),
        }
        print(f"  {name}: {results[name]}")
    return results


def certificate_seconds(run: Callable[[Tensor], Tensor], dim: int, waveform: Tensor, batch: int, n: int) -> float:
    """Seconds of one certificate by `vote` and `distribution` with 100 + n samples and 1,118 speakers."""
    generator = torch.Generator().manual_seed(0)
    prototypes = nn.functional.normalize(torch.randn(1118, dim, generator=generator)).to(waveform.device)
    options = {"num_select": 100, "num_estimate": n, "batch_size": batch, "rules": ("vote", "distribution")}
    certifier = Certifier(run, prototypes, sigma=0.01, **options)
    return seconds(lambda: certifier.certify(waveform), waveform.device)


def measure(path: Path, options: argparse.Namespace) -> dict:
    """All that is measured of one encoder, or why nothing is."""
    device = torch.device(options.device)
    torch.manual_seed(0)
    try:
        encoder = build_encoder(yaml.safe_load(path.read_text())).eval().to(device)
    except ValueError as error:  # an optional package is missing
        return {"skipped": str(error)}
    with torch.inference_mode():
        results = {"batching": measure_batching(encoder, options.num_utterances, options.repeats, device)}
        print(f"{path.stem}: {results['batching']}")
        if device.type == "cuda" or options.certify:
            results["precisions"] = measure_precisions(encoder, options.num_estimate, options.repeats, device)
    return results


def main() -> None:
    """Measures every encoder of a folder and writes JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("configs/encoder"), help="folder of encoder configs")
    parser.add_argument("--only", nargs="*", help="names of configs; all of the folder if not given")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--num_utterances", type=int, default=8, help="utterances of 3 s in a batch")
    parser.add_argument("--num_estimate", type=int, default=100_000, help="samples of a certificate")
    parser.add_argument("--certify", action="store_true", help="time certificates on a CPU too")
    parser.add_argument("--repeats", type=int, default=3, help="repetitions, of which the median counts")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/bench_encoders.json"))
    options = parser.parse_args()
    device = torch.device(options.device)
    with torch.inference_mode():
        filterbank = measure_filterbank(max(options.repeats, 25), device)
    paths = [path for path in sorted(options.folder.glob("*.yaml")) if not options.only or path.stem in options.only]
    results = {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "filterbank": filterbank,
        "encoders": {},
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    for path in paths:
        results["encoders"][path.stem] = measure(path, options)
        options.output.write_text(json.dumps(results, indent=2) + "\n")
    print(f"{options.output} is written.")


if __name__ == "__main__":
    main()
