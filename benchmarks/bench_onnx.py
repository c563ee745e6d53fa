"""What onnxruntime is worth on a CPU: encoders as torch runs them, compiled, and exported to ONNX.

Ratios are taken inside one run, from medians of interleaved repetitions; all three are to agree to 1e-4. The front-end
of ECAPA-TDNN is no Kaldi filterbank, so networks are timed on features that are there already; CAM++ as a whole too.
"""

import argparse
import json
import tempfile
import warnings
from pathlib import Path

import torch
from torch import Tensor

from bench_encoders import SECONDS, TIME, medians
from voxcert.encoders import load_encoder, load_onnx
from voxcert.encoders.onnx_encoder import open_session


def export(network: torch.nn.Module, features: Tensor, path: Path) -> Path:
    """Writes a network on features (batch, frames, bands) as an ONNX file."""
    axes = {"feats": {0: "B", 1: "T"}, "embs": {0: "B"}}
    names = {"input_names": ["feats"], "output_names": ["embs"], "dynamic_axes": axes}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(network, (features,), str(path), dynamo=False, **names)
    return path


def measure(source: str, batch: int, repeats: int, whole: dict | None) -> dict:
    """Milliseconds per utterance of 3 s, and how many times as fast as torch the others are.

    Args:
        source: What to load, as for `load_encoder`.
        batch: Utterances in a batch.
        repeats: Repetitions.
        whole: Settings of `load_onnx` with which an OnnxEncoder is the whole encoder; None if there are none.
    """
    encoder = load_encoder(source)
    waveform = 0.1 * torch.randn(batch, TIME)
    features = encoder.frontend(waveform)
    with tempfile.TemporaryDirectory() as folder:
        path = export(encoder.network, features, Path(folder) / "network.onnx")
        session = open_session(path.read_bytes())
        compiled = torch.compile(encoder.network, dynamic=False)
        ways = {
            "torch": lambda: encoder.network(features),
            "compiled": lambda: compiled(features),
            "onnx": lambda: torch.from_numpy(session.run(None, {"feats": features.numpy()})[0]),
        }
        outputs = {name: torch.nn.functional.normalize(way().flatten(1)) for name, way in ways.items()}
        if whole is not None:
            onnx = load_onnx(path, **whole)
            ways |= {"torch, whole": lambda: encoder(waveform), "onnx, whole": lambda: onnx(waveform)}
        times = medians(ways, repeats, torch.device("cpu"))
    for name, output in outputs.items():
        torch.testing.assert_close(output, outputs["torch"], atol=1e-4, rtol=0, msg=lambda text, n=name: f"{n}: {text}")
    results = {"milliseconds": {name: 1000 * taken / batch for name, taken in times.items()}}
    results["times as fast as torch"] = {
        "compiled": times["torch"] / times["compiled"],
        "onnx": times["torch"] / times["onnx"],
        **({"onnx, whole": times["torch, whole"] / times["onnx, whole"]} if whole is not None else {}),
    }
    print(source, batch, results)
    return results


def main() -> None:
    """Measures CAM++ and ecapa-mini and writes JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--campplus", help="3D-Speaker's CAM++, a file; left out if null")
    parser.add_argument("--ecapa", default="checkpoints/ecapa-mini", help="checkpoint folder")
    parser.add_argument("--batch", type=int, nargs="*", default=[1, 16], help="utterances in a batch")
    parser.add_argument("--repeats", type=int, default=9, help="repetitions, of which the median counts")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/onnx-cpu.json"))
    options = parser.parse_args()
    sources = {"ecapa-mini": (options.ecapa, None)}
    if options.campplus:
        sources["CAM++"] = (options.campplus, {"window": "povey", "scale": 1.0})
    with torch.inference_mode():
        encoders = {
            name: {f"batch of {batch}": measure(source, batch, options.repeats, whole) for batch in options.batch}
            for name, (source, whole) in sources.items()
        }
    results = {"device": "cpu", "threads": torch.get_num_threads(), "seconds": SECONDS, "encoders": encoders}
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(results, indent=2) + "\n")
    print(f"{options.output} is written.")


if __name__ == "__main__":
    main()
