"""Reference outputs of public networks, and the weights that go with them: see tests/golden/README.md."""

import json
import zlib
from pathlib import Path

import numpy as np
import torch

FOLDER = Path(__file__).parents[1] / "golden"


def golden_names(name):
    """The json of a public network: its note and the names and shapes of its state dicts."""
    return json.loads((FOLDER / f"{name}.json").read_text())


def golden_tensors(name):
    """The arrays of a public network as tensors: `input`, `output` and whatever else it has."""
    with np.load(FOLDER / f"{name}.npz") as arrays:
        return {key: torch.from_numpy(arrays[key]) for key in arrays.files}


def golden_state(shapes, keep=()):
    """The state dict that the rule gives for {name: shape}; names that end in one of `keep` are left out."""
    return {name: entry(name, shape) for name, shape in shapes.items() if not name.endswith(tuple(keep))}


def entry(name, shape):
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    r = torch.randn(shape, generator=generator, dtype=torch.float64)
    if name.endswith("num_batches_tracked"):
        return torch.zeros(shape, dtype=torch.long)
    if name.endswith("running_var"):
        r = r.abs() * 0.5 + 0.5
    elif name.endswith("running_mean"):
        r = 0.1 * r
    elif len(shape) >= 2 and not name.endswith("gamma"):
        r = r / r[0].numel() ** 0.5
    elif name.endswith("gamma") or (len(shape) == 1 and name.endswith("weight")):
        r = 1 + 0.1 * r
    else:
        r = 0.1 * r
    return r.float()
