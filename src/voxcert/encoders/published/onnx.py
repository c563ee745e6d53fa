"""ONNX files of speaker encoders, with what wespeaker's and sherpa-onnx' tools write into them about their front-end.

The keys are those of sherpa-onnx (its scripts/wespeaker and scripts/3dspeaker): `framework`, `sample_rate`,
`output_dim`, `normalize_samples` (1: amplitudes in [-1, 1], 0: int16), `feature_normalize_type`.
"""

from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from voxcert.encoders.checkpoint import CheckpointError
from voxcert.encoders.frontends import SAMPLE_RATE
from voxcert.encoders.onnx_encoder import AMPLITUDES, MODEL, OnnxEncoder, open_session

FRONTENDS = {
    "wespeaker": {"window": "hamming", "scale": 32768.0},
    "3d-speaker": {"window": "povey", "scale": 1.0},
}
"""Framework -> what its own inference lets a network hear; both subtract the mean over time."""
SETTINGS = ("hears", "output", "window", "scale", "mean_norm")
CHECK_SECONDS = 2
TOLERANCE = 1e-4


def load_onnx(path: str | Path, **settings: Any) -> OnnxEncoder:
    """Loads an ONNX file, in eval mode, on the CPU.

    What a network hears follows from the file's metadata where wespeaker's or sherpa-onnx' tools wrote them. What they
    do not say has to be said: here, or in a YAML file of the same name beside it (`titan.yaml` for `titan.onnx`). The
    network is run once, and a batch of two rows must give what each row gives.

    Args:
        path: The file.
        settings: Arguments of `OnnxEncoder`: `hears`, `output`, `window`, `scale`, `mean_norm`. Of a network that hears
            waveforms, `scale` says in what amplitudes: 1 or 32768.

    Raises:
        CheckpointError: If onnxruntime is not installed, if the file is missing or no such network, if something is not
            said, or if metadata ask for what is not here; the message says which.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path} is missing")
    settings = _beside(path) | settings
    if unknown := sorted(set(settings) - set(SETTINGS)):
        raise CheckpointError(f"settings of {path} must be some of {', '.join(SETTINGS)}, got {', '.join(unknown)}")
    content = path.read_bytes()
    try:
        session = open_session(content)
    except ValueError as error:
        raise CheckpointError(f"{path}: {error}") from error
    arguments = _input(path, session, settings) | {"output": _output(path, session, settings)}
    metadata = dict(session.get_modelmeta().custom_metadata_map)
    if (rate := metadata.get("sample_rate", str(SAMPLE_RATE))) != str(SAMPLE_RATE):
        raise CheckpointError(f"{path}: sample_rate must be {SAMPLE_RATE}, got {rate}")
    own = _frontend if arguments["hears"] == "features" else _amplitudes
    arguments |= own(path, metadata, settings)
    state = {MODEL: torch.frombuffer(bytearray(content), dtype=torch.uint8)}
    return _checked(path, arguments, state, metadata)


def _beside(path: Path) -> dict[str, Any]:
    """The settings in a YAML file beside an ONNX file."""
    file = path.with_suffix(".yaml")
    if not file.is_file():
        return {}
    try:
        settings = yaml.safe_load(file.read_text()) or {}
    except yaml.YAMLError as error:
        raise CheckpointError(f"{file} is not YAML: {error}") from error
    if not isinstance(settings, dict):
        raise CheckpointError(f"{file} must hold a mapping of {', '.join(SETTINGS)}, got {settings!r}")
    return settings


def _input(path: Path, session: Any, settings: dict[str, Any]) -> dict[str, Any]:
    """What the one input is, by its shape: (batch, time), or (batch, frames, num_mels)."""
    inputs = {value.name: value.shape for value in session.get_inputs()}
    if len(inputs) != 1:
        raise CheckpointError(f"{path} must have one input, the waveform or its features, got {inputs}")
    ((name, shape),) = inputs.items()
    if len(shape) == 2 and settings.get("hears", "waveform") == "waveform":
        return {"hears": "waveform"}
    if len(shape) == 3 and isinstance(shape[2], int) and settings.get("hears", "features") == "features":
        return {"hears": "features", "num_mels": shape[2]}
    wanted = "(batch, time) of a waveform or (batch, frames, bands) of features, with a fixed number of bands"
    raise CheckpointError(f"{path}: the input {name} must have the shape {wanted}, got {shape}")


def _output(path: Path, session: Any, settings: dict[str, Any]) -> str:
    names = [value.name for value in session.get_outputs()]
    output = settings.get("output", names[0] if len(names) == 1 else None)
    if output not in names:
        raise CheckpointError(f"{path}: output must be one of {', '.join(names)}, got {output!r}{_where(path)}")
    return output


def _frontend(path: Path, metadata: dict[str, str], settings: dict[str, Any]) -> dict[str, Any]:
    """Window, scale and normalisation, from settings before metadata."""
    framework = metadata.get("framework")
    if framework is not None and framework not in FRONTENDS and not {"window", "scale"} <= set(settings):
        allowed = f"one of {', '.join(FRONTENDS)}, whose filterbanks are known"
        kaldi = "; if it hears Kaldi's filterbanks all the same, its window and scale make it one (NeMo's does not)"
        raise CheckpointError(f"{path}: framework must be {allowed}, got {framework!r}{kaldi}{_where(path)}")
    known = FRONTENDS.get(framework, {}) | _scale(metadata) | {"mean_norm": True}
    if (kind := metadata.get("feature_normalize_type", "global-mean")) != "global-mean" and "mean_norm" not in settings:
        raise CheckpointError(f"{path}: feature_normalize_type must be global-mean, got {kind!r}{_where(path)}")
    known |= {name: settings[name] for name in ("window", "scale", "mean_norm") if name in settings}
    if missing := [name for name in ("window", "scale") if name not in known]:
        ways = "wespeaker's networks hear hamming windows at 32768, 3D-Speaker's povey windows at 1"
        raise CheckpointError(f"{path} does not say the {' and '.join(missing)} that it hears ({ways}){_where(path)}")
    return known


def _amplitudes(path: Path, metadata: dict[str, str], settings: dict[str, Any]) -> dict[str, Any]:
    """In what amplitudes a network hears waveforms, from settings before metadata; no settings of features."""
    if given := [name for name in ("window", "mean_norm") if name in settings]:
        raise CheckpointError(f"{path} hears waveforms: {' and '.join(given)} must be left out, which are of features")
    scale = (_scale(metadata) | settings).get("scale", 1.0)
    hears = [name for name, amplitude in AMPLITUDES.items() if amplitude == scale]
    if not hears:
        raise CheckpointError(f"{path} hears waveforms: scale must be 1 or 32768 (int16 amplitudes), got {scale!r}")
    return {"hears": hears[0]}


def _scale(metadata: dict[str, str]) -> dict[str, float]:
    """The factor of the waveform, where metadata say it."""
    normalized = metadata.get("normalize_samples")
    return {} if normalized is None else {"scale": 1.0 if normalized == "1" else 32768.0}


def _where(path: Path) -> str:
    return f"; say it in {path.with_suffix('.yaml').name} beside it, or as an argument of load_onnx"


def _checked(path: Path, arguments: dict[str, Any], state: dict[str, Tensor], metadata: dict[str, str]) -> OnnxEncoder:
    """The encoder, after it has heard two rows of noise together and each alone."""
    probe = _built(path, {"dim": 1} | arguments, state)
    noise = 0.1 * torch.randn(2, _samples(probe), generator=torch.Generator().manual_seed(0))
    try:
        together, alone = probe(noise), torch.cat([probe(row[None]) for row in noise])
    except ValueError as error:
        raise CheckpointError(f"{path}: {error}") from error
    if together.ndim != 2 or not torch.isfinite(together).all():
        raise CheckpointError(f"{path} must give finite embeddings (batch, dim), got shape {tuple(together.shape)}")
    if not torch.allclose(together, alone, atol=TOLERANCE, rtol=0):
        raise CheckpointError(f"{path}: the embedding of a row depends on the other rows of its batch")
    dim = together.shape[1]
    if (said := metadata.get("output_dim", str(dim))) != str(dim):
        raise CheckpointError(f"{path}: output_dim must be {dim}, the size of its embedding, got {said}")
    return _built(path, {"dim": dim} | arguments, state)


def _samples(encoder: OnnxEncoder) -> int:
    """How many samples to try: two seconds, or what a network of a fixed length hears."""
    length = encoder.session().get_inputs()[0].shape[1]
    if not isinstance(length, int):
        return CHECK_SECONDS * SAMPLE_RATE
    frontend = encoder.frontend
    return length if frontend is None else (length - 1) * frontend.hop + frontend.window_size


def _built(path: Path, arguments: dict[str, Any], state: dict[str, Tensor]) -> OnnxEncoder:
    try:
        encoder = OnnxEncoder(**arguments)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: {error}") from error
    encoder.load_state_dict(state)
    return encoder.eval()
