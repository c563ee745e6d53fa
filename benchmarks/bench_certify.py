"""How much of a certificate's time is the encoder's forward pass, and what the plain way of doing it would cost.

Times, interleaved in one run, (a) the bare encoder at its best batch size, (b) the Certifier, (c) a reference loop in
the manner of published code: batches of 100, embeddings gathered by a growing `torch.cat`, separate passes over the
samples for the mean, the votes and each rival's statistic. Machines are noisy: compare the ratios, not the seconds.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import torch
import yaml

from voxcert.encoders.base import Encoder
from voxcert.encoders.checkpoint import build_encoder
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


def seconds(function, device: torch.device) -> float:
    """Wall-clock seconds of one call."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    function()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


@torch.inference_mode()
def measure(encoder: Encoder, device: torch.device, num_estimate: int, num_speakers: int, repeats: int) -> dict:
    """Measures the three ways in turn, `repeats` times, and returns medians and ratios."""
    encoder = encoder.eval().to(device)
    generator = torch.Generator().manual_seed(0)
    waveform = (0.1 * torch.randn(48_000, generator=generator)).to(device)
    prototypes = torch.nn.functional.normalize(torch.randn(num_speakers, encoder.dim, generator=generator)).to(device)
    num_select = num_estimate // 10
    batch = fastest_batch_size(encoder, waveform, num_estimate)
    rules = ("distribution", "mean", "lipschitz", "vote")
    options = {"num_select": num_select, "num_estimate": num_estimate, "rules": rules, "batch_size": batch}
    certifier = Certifier(encoder, prototypes, sigma=SIGMA, **options)
    filled = waveform.repeat(batch, 1)
    forwards = {"encoder": batch * max(1, num_estimate // batch)}
    times: dict[str, list[float]] = {"encoder": [], "certifier": [], "reference": []}
    for index in range(repeats):
        times["encoder"].append(seconds(lambda: [encoder(filled) for _ in range(forwards["encoder"] // batch)], device))
        name = f"utterance {index}"  # other noise every time
        rows = []
        times["certifier"].append(seconds(lambda: rows.extend(certifier.certify(waveform, name)), device))  # noqa: B023
        forwards["certifier"] = rows[0].num_forwards
        times["reference"].append(
            seconds(lambda: forwards.update(reference=reference(encoder, prototypes, waveform, num_estimate)), device)
        )
    seconds_each = {name: statistics.median(values) for name, values in times.items()}
    speed = {name: forwards[name] / seconds_each[name] for name in times}
    return {
        "device": torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else f"cpu, {torch.get_num_threads()} threads",
        "batch_size": batch,
        "num_select": num_select,
        "num_estimate": num_estimate,
        "num_speakers": num_speakers,
        "repeats": repeats,
        "forwards_per_second": speed,
        "forwards_per_certificate": {name: forwards[name] for name in ("certifier", "reference")},
        "certifier_over_encoder": speed["certifier"] / speed["encoder"],
        "certifier_over_reference": speed["certifier"] / speed["reference"],
        # The reference spends three passes on what one pass holds: this ratio is per forward that a certificate needs.
        "certifier_over_reference_per_needed_forward": seconds_each["reference"] / seconds_each["certifier"],
        "seconds_per_certificate": {name: seconds_each[name] for name in ("certifier", "reference")},
    }


def main() -> None:
    """Measures one encoder config, prints JSON and keeps it in benchmarks/results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder", default="configs/encoder/ecapa_mini.yaml", help="an encoder's config")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--num_estimate", type=int, default=500)
    parser.add_argument("--num_speakers", type=int, default=211)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    torch.manual_seed(0)
    encoder = build_encoder(yaml.safe_load(Path(options.encoder).read_text()))
    device = torch.device(options.device)
    result = {"encoder": Path(options.encoder).stem} | measure(
        encoder, device, options.num_estimate, options.num_speakers, options.repeats
    )
    text = json.dumps(result, indent=2)
    target = Path(__file__).parent / "results" / f"certify-{result['encoder']}-{device.type}.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
