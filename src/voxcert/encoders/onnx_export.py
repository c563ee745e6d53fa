"""An encoder as an ONNX file, front-end included, that hears waveforms and is held against torch before it is kept.

The other direction of `load_onnx`; written by torch's exporter, which follows the program with a batch of any size.
"""

import json
import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from voxcert.encoders.base import Encoder
from voxcert.encoders.checkpoint import CheckpointError
from voxcert.encoders.frontends import SAMPLE_RATE
from voxcert.encoders.loading import encoder_hash
from voxcert.encoders.onnx_encoder import OnnxEncoder
from voxcert.encoders.published.onnx import TOLERANCE, load_onnx

EXAMPLE_ROWS = 2  # of one, the exporter would make a constant
CHECKED_ROWS = (1, 2, 5)


def export_onnx(encoder: Encoder, path: str | Path, seconds: float = 3.0) -> Path:
    """Writes an encoder as an ONNX file: waveform (batch, time) -> unit embedding (batch, dim), any batch, one length.

    The file is opened with `load_onnx` and must give, for batches of several sizes and loudnesses, what the encoder
    gives to 1e-4; otherwise nothing is written.

    Args:
        encoder: In eval mode, on the CPU.
        path: The file, `*.onnx`.
        seconds: Length of the waveforms that it hears.

    Returns:
        The file.

    Raises:
        ValueError: If the name or the length is out of range, the encoder is an ONNX file already, a library is not
            installed, the exporter cannot follow the encoder, or the file does not give the same.
    """
    path, samples = Path(path), round(seconds * SAMPLE_RATE)
    if path.suffix != ".onnx":
        raise ValueError(f"the file to write must be called *.onnx, got {path}")
    if not 0 < seconds <= 3600:
        raise ValueError(f"seconds must be in (0, 3600], got {seconds}")
    name = type(encoder).__name__
    if isinstance(encoder, OnnxEncoder):
        raise ValueError(f"the encoder must be one of torch to be exported, got an {name}, which is an ONNX file")
    with torch.no_grad():
        encoder(torch.zeros(1, samples))  # says it if that is too short
    with TemporaryDirectory(dir=_folder(path)) as folder:  # beside the file, so that it is moved there as a whole
        draft = Path(folder) / path.name
        _write(encoder, samples, draft)
        try:
            exported = load_onnx(draft)
        except CheckpointError as error:
            raise ValueError(f"the ONNX file of this {name} cannot be used: {error}") from error
        if not (off := _difference(encoder, exported, samples)) <= TOLERANCE:
            raise ValueError(f"the ONNX file of this {name} must give its embeddings to {TOLERANCE:g}, got {off:.3g}")
        os.replace(draft, path)
    return path


def _folder(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.parent


def _write(encoder: Encoder, samples: int, path: Path) -> None:
    """Follows the encoder, and writes it with metadata that `load_onnx` and a reader understand."""
    try:
        import onnxscript  # noqa: F401  (what torch.onnx writes with, which it would name less clearly)
    except ImportError as error:
        raise ValueError(f'export to ONNX needs onnxscript: pip install "voxcert[onnx]" ({error})') from error
    example = 0.1 * torch.randn(EXAMPLE_ROWS, samples, generator=torch.Generator().manual_seed(0))
    with warnings.catch_warnings(), _quiet_exporter():
        warnings.simplefilter("ignore")  # of torch's, about itself
        try:
            program = torch.onnx.export(
                _followed(encoder, example),
                (example,),
                dynamo=True,
                input_names=["waveform"],
                output_names=["unit_embedding"],
                verbose=False,
            )
        except Exception as error:  # the exporter has a kind of its own for every step
            reason = str(error.__cause__ or error).strip().partition("\n")[0]
            raise ValueError(f"torch cannot write this {type(encoder).__name__} as ONNX: {reason}") from error
    program.model.metadata_props.update(
        {
            "framework": "voxcert",
            "sample_rate": str(SAMPLE_RATE),
            "output_dim": str(encoder.dim),
            "encoder": json.dumps(encoder.config),
            "encoder_hash": encoder_hash(encoder),
        }
    )
    program.save(path)


def _followed(encoder: Encoder, example: Tensor) -> torch.export.ExportedProgram:
    """The encoder's program for any batch; by its byte code, which takes longer, where its run fixes the batch."""
    axes = ({0: torch.export.Dim("batch")},)
    try:
        return torch.export.export(encoder, (example,), dynamic_shapes=axes, strict=False)
    except Exception:  # such as what speechbrain does with the len of a tensor
        return torch.export.export(encoder, (example,), dynamic_shapes=axes, strict=True)


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """What torch's exporter logs about attempts stays out of a user's sight; errors are raised."""
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


@torch.inference_mode()
def _difference(encoder: Encoder, exported: Encoder, samples: int) -> float:
    """Largest difference of an entry of an embedding, over batches of noise from loud to quiet; NaN counts."""
    worst = []
    for rows in CHECKED_ROWS:
        noise = torch.randn(rows, samples, generator=torch.Generator().manual_seed(rows))
        waveform = torch.logspace(-0.5, -3, rows)[:, None] * noise
        worst.append((encoder(waveform) - exported(waveform)).abs().max())
    return float(torch.stack(worst).max())
