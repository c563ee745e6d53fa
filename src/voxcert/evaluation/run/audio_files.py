"""Adversarial waveforms as 16-bit audio files, and back: what a victim would really be sent.

Samples are rounded to multiples of 2^-15, those of 16-bit audio, so that a waveform that came from such a file and was
not changed is written without any loss.
"""

from io import BytesIO
from pathlib import Path

import soundfile
import torch
from torch import Tensor

from voxcert.attacks import from_int16
from voxcert.data.audio import SAMPLE_RATE
from voxcert.evaluation.run.folder import file_name
from voxcert.rows import replace_file

LOWEST, HIGHEST = -32768, 32767


def rounded(waveform: Tensor) -> Tensor:
    """Waveforms of any shape as 16-bit audio holds them."""
    return (waveform / from_int16(1)).round().clamp(LOWEST, HIGHEST) * from_int16(1)


def kept_path(utterance: str, radius: float | None, kind: str) -> str:
    """Where an utterance is kept, relative to the run's folder; any id makes a file name of its own."""
    folder = "audio" if radius is None else f"audio/{radius}"
    return f"{folder}/{file_name(utterance)}.{kind}"


def write_rounded(path: str | Path, waveform: Tensor) -> Tensor:
    """Writes a waveform as a 16-bit file, whole or not at all, and reads it again.

    Args:
        path: Ends in .flac or .wav; folders are made.
        waveform: Shape (time,), in [-1, 1]; a sample at 1 becomes 32767 / 32768.

    Returns:
        What was written, shape (time,), on the waveform's device.

    Raises:
        OSError: As `replace_file`.
    """
    steps = (waveform.cpu() / from_int16(1)).round().clamp(LOWEST, HIGHEST).to(torch.int16)
    file = BytesIO()  # libsndfile's own errors of writing name neither file nor reason
    soundfile.write(file, steps.numpy(), SAMPLE_RATE, subtype="PCM_16", format=Path(path).suffix[1:])
    replace_file(path, file.getvalue())
    file.seek(0)
    samples, _ = soundfile.read(file, dtype="float32")  # divides by 2^15, exactly
    return torch.from_numpy(samples).to(waveform.device)
