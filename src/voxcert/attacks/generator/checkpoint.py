"""Checkpoint folders of generators: `model.safetensors`, `config.yaml` and `card.json`, as those of encoders.

Nothing in them is run or unpickled, and they need neither Lightning nor the run they came from.
"""

from pathlib import Path
from typing import Any

from voxcert.attacks.generator.network import SaliencyGenerator
from voxcert.encoders.checkpoint import CheckpointError, load_folder

CLASS_PATH = "voxcert.attacks.SaliencyGenerator"
FORMERLY = "voxcert.attacks.generator_network.SaliencyGenerator"
"""How checkpoints of voxcert 0.1 name it."""


def build_generator(config: dict[str, Any]) -> SaliencyGenerator:
    """Builds a generator with fresh weights from its `config`; CheckpointError if that is of anything else."""
    if not isinstance(config, dict) or config.get("class_path") not in (CLASS_PATH, FORMERLY):
        given = config.get("class_path") if isinstance(config, dict) else config
        raise CheckpointError(f"class_path of a generator must be {CLASS_PATH}, got {given!r}")
    try:
        return SaliencyGenerator(**config.get("init_args") or {})
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"init_args of {CLASS_PATH} do not fit: {error}") from error


def load_generator(folder: str | Path) -> SaliencyGenerator:
    """Loads a generator from a folder that `save_checkpoint` wrote, in eval mode, on the CPU.

    Raises:
        CheckpointError: If the folder or a file is missing or of another kind, or if the weights do not fit.
    """
    return load_folder(folder, build_generator, "generator")
