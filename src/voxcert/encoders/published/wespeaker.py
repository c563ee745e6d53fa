"""Encoders from the folders that wespeaker publishes: `avg_model.pt`, a state dict, and `config.yaml`, its training.

Wang et al. 2023, "Wespeaker: a research and production oriented speaker embedding learning toolkit" (arXiv 2210.17016).
"""

from pathlib import Path
from typing import Any

import yaml

from voxcert.encoders.base import FeatureEncoder
from voxcert.encoders.campplus import CAMPPlus
from voxcert.encoders.checkpoint import CheckpointError, read_state
from voxcert.encoders.ecapa_glob import ECAPAGlob
from voxcert.encoders.eres2net import ERes2Net
from voxcert.encoders.frontends import SAMPLE_RATE
from voxcert.encoders.resnet import DEPTHS, ResNet

AUG = "ERes2Net34_aug"
MODELS: dict[str, tuple[type[FeatureEncoder], dict[str, Any]]] = {
    "CAMPPlus": (CAMPPlus, {}),
    "ERes2Net34_Base": (ERes2Net, {"channels": 32}),
    "ERes2Net34_Large": (ERes2Net, {"channels": 64}),
    AUG: (ERes2Net, {"channels": 64, "expansion": 4, "base_width": 24, "res2net_scale": 3}),
    **{f"ResNet{depth}": (ResNet, {"depth": depth}) for depth in DEPTHS},
    **{f"ECAPA_TDNN_GLOB_c{channels}": (ECAPAGlob, {"channels": channels}) for channels in (512, 1024)},
}
"""wespeaker's name of a model -> our encoder and the arguments that the name stands for."""

ARGUMENTS = {
    "feat_dim": "num_mels",
    "embed_dim": "dim",
    "growth_rate": "growth_rate",
    "bn_size": "bn_size",
    "init_channels": "init_channels",
    "expansion": "expansion",
    "baseWidth": "base_width",
    "scale": "res2net_scale",
}
"""wespeaker's name of a model's argument -> ours."""

FIXED = {"pooling_func": "TSTP", "two_emb_layer": False, "emb_bn": False, "config_str": "batchnorm-relu"}
"""Arguments of models that our networks have in one form only."""

HEARS = {
    "window_type": ("window", {"hamming": "hamming", "povey": "povey"}),
    "wavform_norm": ("scale", {False: 32768.0, True: 1.0}),
}
"""What a user may write into a config, as wespeaker's own inference calls it -> our argument and its values."""

THREE_D_SPEAKER = {"window": "povey", "scale": 1.0}
TAKEN_OVER = ("campplus_cn_common_200k", "eres2net_cn_common_200k", "eres2net_cn_commom_200k")
"""Folders of the models that wespeaker took over from 3D-Speaker; the last is how its hub spells the one before."""
TRAINED = "train_data"
"""In every config that wespeaker's training writes."""


def load_wespeaker(folder: Path) -> FeatureEncoder:
    """Loads a local copy of a published folder, in eval mode, on the CPU.

    A config does not say what the network was trained to hear. wespeaker's own training takes hamming windows and int16
    amplitudes. The two Mandarin models that it took over from 3D-Speaker, campplus_cn_common_200k and
    eres2net_cn_common_200k, take povey windows and waveforms in [-1, 1], which wespeaker's users have to say by hand
    (`set_window_type("povey")`, `set_wavform_norm(True)`). They are told by what is theirs alone among the published
    models: CAMPPlus with 192 dimensions (wespeaker's own has 512), and any ERes2Net34_aug. But anyone can train such a
    network with wespeaker. So where its config names training data, and the folder is not called as those two are, the
    config must say what it hears: `window_type: povey` or `hamming`, and `wavform_norm: true` for waveforms in [-1, 1]
    or `false` for int16 amplitudes. These two are read from any config that has them.

    Args:
        folder: Folder with `avg_model.pt` and `config.yaml`.

    Raises:
        CheckpointError: If a file is missing or not plain data, if the config describes a model or a front-end that is
            not here, if nothing says what the network hears, or if the weights do not fit; the message says which.
    """
    encoder_class, arguments = read_model(folder / "config.yaml")
    try:
        encoder = encoder_class(**arguments)
    except (TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{folder / 'config.yaml'}: model_args do not fit: {error}") from error
    path = folder / "avg_model.pt"
    state = {name.removeprefix("module."): value for name, value in read_state(path).items()}  # DataParallel's prefix
    state = {
        name: value for name, value in state.items() if not name.startswith("projection.")
    }  # training's classifier
    try:
        encoder.network.load_state_dict(state)
    except RuntimeError as error:
        raise CheckpointError(f"the weights in {path} do not fit {folder / 'config.yaml'}: {error}") from error
    return encoder.eval()


def read_model(path: Path) -> tuple[type[FeatureEncoder], dict[str, Any]]:
    """Reads which encoder a wespeaker `config.yaml` describes, front-end included: its class and its arguments.

    Raises:
        CheckpointError: If the file is missing or not YAML, describes a model or a front-end that is not here, or does
            not say what cannot be known.
    """
    config = _read_yaml(path)
    model, given = config.get("model"), _section(path, config, "model_args")
    if not isinstance(model, str) or model not in MODELS:
        raise CheckpointError(f"{path}: model must be one of {', '.join(MODELS)}, got {model!r}")
    encoder_class, arguments = MODELS[model]
    fixed = FIXED | {"pooling_func": "ASTP"} if encoder_class is ECAPAGlob else FIXED
    _require(path, "model_args", given, fixed)
    if unknown := sorted(set(given) - set(fixed) - set(ARGUMENTS)):
        raise CheckpointError(f"{path}: model_args must be some of {', '.join(ARGUMENTS)}, got {', '.join(unknown)}")
    arguments = arguments | {ARGUMENTS[name]: value for name, value in given.items() if name in ARGUMENTS}
    _require_frontend(path, _section(path, config, "dataset_args"), given.get("feat_dim", 80))
    said = _said(path, config)
    if model == AUG or (model == "CAMPPlus" and arguments.get("dim") == 192):
        if TRAINED not in config or path.absolute().parent.name in TAKEN_OVER:
            said = THREE_D_SPEAKER | said
        elif len(said) < len(HEARS):
            raise CheckpointError(
                f"{path} describes a network that wespeaker took over from 3D-Speaker, but names {TRAINED}: nothing "
                f"says which of the two it hears as; write into it window_type: hamming and wavform_norm: false if "
                f"wespeaker trained it, or window_type: povey and wavform_norm: true if 3D-Speaker did"
            )
    return encoder_class, arguments | said


def _said(path: Path, config: dict[str, Any]) -> dict[str, Any]:
    """Window and scale, as far as a config says them."""
    said = {}
    for name, (argument, values) in HEARS.items():
        if name not in config:
            continue
        if config[name] not in list(values):
            allowed = " or ".join(str(value).lower() for value in values)
            raise CheckpointError(f"{path}: {name} must be {allowed}, got {config[name]!r}")
        said[argument] = values[config[name]]
    return said


def _require_frontend(path: Path, dataset: dict[str, Any], feat_dim: int) -> None:
    """What a config leaves out is wespeaker's default, and ours."""
    _require(path, "dataset_args", dataset, {"frontend": "fbank", "resample_rate": SAMPLE_RATE, "cmvn": True})
    fbank = {"num_mel_bins": feat_dim, "frame_length": 25, "frame_shift": 10}
    _require(path, "fbank_args", _section(path, dataset, "fbank_args"), fbank)
    _require(path, "cmvn_args", _section(path, dataset, "cmvn_args"), {"norm_mean": True, "norm_var": False})


def _require(path: Path, section: str, given: dict[str, Any], wanted: dict[str, Any]) -> None:
    for name, value in wanted.items():
        if given.get(name, value) != value:
            raise CheckpointError(f"{path}: {section}.{name} must be {value!r}, got {given[name]!r}")


def _section(path: Path, config: dict[str, Any], name: str) -> dict[str, Any]:
    section = config.get(name) or {}
    if not isinstance(section, dict):
        raise CheckpointError(f"{path}: {name} must be a mapping, got {section!r}")
    return section


def _read_yaml(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise CheckpointError(f"{path} is missing")
    try:
        config = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path} is not YAML: {error}") from error
    if not isinstance(config, dict):
        raise CheckpointError(f"{path} must hold a mapping with model and model_args, got {config!r}")
    return config
