"""The settings of a purification, checked before anything slow happens."""

from dataclasses import dataclass
from math import isfinite
from typing import Literal

from voxcert.evaluation.purification.pieces import OVERLAP_SECONDS


@dataclass(frozen=True)
class PurifySettings:
    """What is purified, and where the results go.

    Args:
        inputs: Audio files, and folders that hold some, of any format, sampling rate and channel count.
        output_dir: Folder for the purified files, 16 kHz mono with 16 bits: .wav stays WAV, anything else becomes FLAC.
            A file of an input folder keeps its path in there. Beside them rows.jsonl and config.yaml; a run that was
            killed continues here.
        chunk_seconds: Longer recordings are purified in pieces of this length, which overlap and fade into each other.
        seed: Of the noise of a purifier that draws some anew.
        purifier_hash: Refuse other weights; the config.yaml of a run holds those it had.
        words_hash: Refuse other weights of what hears and embeds words; the config.yaml of a run holds those it had.
        accelerator: Where to compute; auto takes CUDA where it is at hand.

    Raises:
        ValueError: If there is no input, or the pieces are too short.
    """

    inputs: list[str]
    output_dir: str
    chunk_seconds: float = 30.0
    seed: int = 0
    purifier_hash: str | None = None
    words_hash: str | None = None
    accelerator: Literal["auto", "cpu", "cuda"] = "auto"

    def __post_init__(self) -> None:
        if not self.inputs:
            raise ValueError("inputs must name at least one file or folder, got none")
        if not isfinite(self.chunk_seconds) or self.chunk_seconds <= 2 * OVERLAP_SECONDS:
            raise ValueError(f"chunk_seconds must be finite and above {2 * OVERLAP_SECONDS}, got {self.chunk_seconds}")
