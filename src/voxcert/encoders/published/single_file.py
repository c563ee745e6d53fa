"""Encoders that were published as one file of weights whose name says little: its entries tell whose it is."""

from pathlib import Path

from voxcert.encoders.base import FeatureEncoder
from voxcert.encoders.checkpoint import read_state
from voxcert.encoders.published import resemblyzer, three_d_speaker


def load_file(path: Path) -> FeatureEncoder:
    """Loads a file of 3D-Speaker or Resemblyzer, in eval mode, on the CPU.

    Args:
        path: A state dict, as a file of torch or as safetensors.

    Raises:
        CheckpointError: As `load_released` and `load_resemblyzer`; if it is neither's, the message says so.
    """
    if resemblyzer.ENTRY in read_state(path):
        return resemblyzer.load_resemblyzer(path)
    return three_d_speaker.load_released(path)
