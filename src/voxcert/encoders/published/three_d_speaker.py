"""Encoders as 3D-Speaker released them on ModelScope: CAM++ and ERes2Net.

Chen et al. 2024, "3D-Speaker-Toolkit: an open source toolkit for multi-modal speaker verification and diarization"
(arXiv 2403.19971). A release is a state dict, and a `configuration.json` that names it. All of its models hear Kaldi's
filterbank with povey windows on waveforms in [-1, 1], less its mean over time.
"""

import json
import re
from pathlib import Path
from typing import Any

from torch import Tensor

from voxcert.encoders.base import FeatureEncoder
from voxcert.encoders.campplus import HEAD_CHANNELS, CAMPPlus
from voxcert.encoders.checkpoint import CheckpointError, read_state
from voxcert.encoders.eres2net import ERes2Net
from voxcert.encoders.frontends import SAMPLE_RATE
from voxcert.encoders.networks.residual import DOWNSAMPLING

HEARS = {"window": "povey", "scale": 1.0}
CONFIGURATION = "configuration.json"
RELEASED = re.compile(
    r"campplus_(cn_common|cn_en_common|voxceleb|cnceleb|3dspeaker)\.(bin|pt|safetensors)"
    r"|(pretrained_eres2net.*|eres2net_.*_model)\.(ckpt|safetensors)"
)
"""How 3D-Speaker names its files: wespeaker's may have the same entries in a state dict, and hears something else."""
ENTRY, V2_ENTRY = "xvector.tdnn.linear.weight", "fuse34."
WESPEAKERS_ENTRY = ".conv2_1.weight"
"""End of the name of an entry that an ERes2Net has with wespeaker, and never with 3D-Speaker."""


def load_modelscope(folder: Path) -> FeatureEncoder:
    """Loads a local copy of a ModelScope folder of 3D-Speaker, in eval mode, on the CPU.

    Args:
        folder: Folder with `configuration.json` and the file that it names as `model.pretrained_model`, or that file as
            safetensors.

    Raises:
        CheckpointError: If a file is missing or not plain data, if the configuration is that of something else, or if
            the weights are not those of a CAM++ or ERes2Net of its sizes; the message says which.
    """
    path = folder / CONFIGURATION
    model = _read_model(path)
    name, settings = model.get("pretrained_model"), model.get("model_config") or {}
    if not isinstance(name, str) or not isinstance(settings, dict):
        raise CheckpointError(f"{path} must hold model.pretrained_model and model.model_config, got model {model!r}")
    weights = folder / Path(name).name
    converted = weights.with_suffix(".safetensors")
    weights = converted if converted.is_file() and not weights.is_file() else weights
    encoder = _build(weights, read_state(weights))
    arguments = encoder.config["init_args"]
    wanted = {"sample_rate": SAMPLE_RATE, "fbank_dim": arguments["num_mels"], "emb_size": arguments["dim"]}
    for setting, value in wanted.items():
        if settings.get(setting, value) != value:
            raise CheckpointError(f"{path}: model_config.{setting} must be {value}, got {settings[setting]!r}")
    return encoder


def load_released(path: Path) -> FeatureEncoder:
    """Loads a weight file of 3D-Speaker, in eval mode, on the CPU.

    The weights of a CAM++ do not say whether 3D-Speaker or wespeaker trained it, and those of an ERes2Net do not where
    their entries have wespeaker's names, as in what it took over from 3D-Speaker. So something else has to: the name
    under which 3D-Speaker released the file, or the `configuration.json` that it came with.

    Args:
        path: A state dict, as a file of torch or as safetensors.

    Raises:
        CheckpointError: If the file is missing or not plain data, if its weights are not those of a CAM++ or ERes2Net,
            or if nothing says what they were trained to hear; the message says which.
    """
    state = read_state(path)
    encoder = _build(path, state)
    may_be_wespeakers = ENTRY in state or any(name.endswith(WESPEAKERS_ENTRY) for name in state)
    if may_be_wespeakers and not RELEASED.fullmatch(path.name) and not _is_named(path):
        kind = "a CAM++" if ENTRY in state else "an ERes2Net"
        raise CheckpointError(
            f"{path} holds {kind}, but nothing says whether it hears as 3D-Speaker's or as wespeaker's, which have "
            f"equal networks: keep the name under which 3D-Speaker released it (such as campplus_cn_common.bin) or "
            f"put its {CONFIGURATION} beside it; one of wespeaker's is a folder with avg_model.pt and config.yaml"
        )
    return encoder


def _build(path: Path, state: dict[str, Tensor]) -> FeatureEncoder:
    """The encoder whose weights a file holds; its sizes follow from them."""
    if any(name.startswith(V2_ENTRY) for name in state):
        raise CheckpointError(f"{path} holds an ERes2NetV2, which is not among the encoders here")
    try:
        encoder = _campplus(state) if ENTRY in state else _eres2net(state)
        names = state if ENTRY in state else {_wespeakers_name(name, state): value for name, value in state.items()}
        encoder.network.load_state_dict(names)
    except (KeyError, IndexError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{path} does not hold the weights of a CAM++ or ERes2Net: {error}") from error
    return encoder.eval()


def _campplus(state: dict[str, Tensor]) -> CAMPPlus:
    layer = "xvector.block1.tdnnd1.cam_layer.linear_local.weight"
    growth_rate, bottleneck, _ = state[layer].shape
    init_channels, bands, _ = state[ENTRY].shape
    return CAMPPlus(
        dim=state["xvector.dense.linear.weight"].shape[0],
        growth_rate=growth_rate,
        bn_size=bottleneck // growth_rate,
        init_channels=init_channels,
        num_mels=bands * DOWNSAMPLING // HEAD_CHANNELS,
        **HEARS,
    )


def _eres2net(state: dict[str, Tensor]) -> ERes2Net:
    channels = state["conv1.weight"].shape[0]
    expansion = state["layer1.0.conv3.weight"].shape[0] // channels
    group_width = state["layer1.0.convs.0.weight"].shape[0]
    dim, pooled = state["seg_1.weight"].shape
    return ERes2Net(
        channels=channels,
        dim=dim,
        expansion=expansion,
        base_width=-(-64 * group_width // channels),  # rounded up: the network rounds down
        res2net_scale=state["layer1.0.conv1.weight"].shape[0] // group_width,
        num_mels=pooled // (2 * expansion * channels),
        **HEARS,
    )


def _wespeakers_name(name: str, state: dict[str, Tensor]) -> str:
    """A name of 3D-Speaker's ERes2Net as wespeaker has it: the first convolution of a fused block is apart there."""
    match = re.fullmatch(r"(layer[34]\.\d+)\.(conv|bn)s\.(\d+)\.(\w+)", name)
    if match is None or f"{match[1]}.conv2_1.weight" in state:
        return name
    block, kind, index, entry = match[1], match[2], int(match[3]), match[4]
    return f"{block}.{kind}s.{index - 1}.{entry}" if index else f"{block}.{kind}2_1.{entry}"


def _is_named(path: Path) -> bool:
    """Whether the configuration beside a file names it, with whatever ending."""
    configuration = path.parent / CONFIGURATION
    if not configuration.is_file():
        return False
    name = _read_model(configuration).get("pretrained_model")
    return isinstance(name, str) and Path(name).stem == path.stem


def _read_model(path: Path) -> dict[str, Any]:
    """The section `model` of a `configuration.json`."""
    if not path.is_file():
        raise CheckpointError(f"{path} is missing")
    try:
        content = json.loads(path.read_text())
    except ValueError as error:
        raise CheckpointError(f"{path} is not JSON: {error}") from error
    model = content.get("model") if isinstance(content, dict) else None
    if not isinstance(model, dict):
        raise CheckpointError(f"{path} must hold a mapping with model.pretrained_model, got {content!r:.80}")
    return model
