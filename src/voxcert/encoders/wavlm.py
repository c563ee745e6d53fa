"""WavLM with an x-vector head (Chen et al. 2022, arXiv 2110.13900), the network being that of transformers.

Published weights are folders as `from_pretrained` reads them, such as microsoft/wavlm-base-plus-sv.
"""

import inspect
import json
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from transformers import WavLMConfig, WavLMForXVector

from voxcert.encoders.base import Encoder
from voxcert.encoders.checkpoint import CheckpointError

NORMALISATION_FLOOR = 1e-7  # under the variance, as transformers' feature extractor has it
OFF = {"apply_spec_augment": False, "mask_time_prob": 0.0, "mask_feature_prob": 0.0, "layerdrop": 0.0}
TRAINING_HEAD = ("classifier.", "objective.", "wavlm.masked_spec_embed")  # weights that no embedding depends on


class WavLM(Encoder):
    """WavLM x-vectors; an empty `architecture` is WavLM Base.

    Training neither masks frames (SpecAugment) nor drops layers: short crops have too few frames for the published
    masks, the weighted sum of layers needs all of them, and every weight gets a gradient in every step.

    Args:
        architecture: What differs from the defaults of `transformers.WavLMConfig`.
        normalize: Bring every waveform to mean 0 and variance 1 first (`do_normalize` of the published
            preprocessor_config.json).

    Raises:
        ValueError: If `architecture` has a key that is not WavLMConfig's own, or if a waveform is too short to pool.
    """

    def __init__(self, architecture: dict[str, Any] | None = None, normalize: bool = True):
        super().__init__()
        architecture = architecture or {}
        if unknown := sorted(architecture.keys() - _known()):
            raise ValueError(f"architecture must have keys of transformers.WavLMConfig, got {', '.join(unknown)}")
        config = WavLMConfig(**architecture | OFF)
        self.dim, self.normalize = config.xvector_output_dim, normalize
        self.network = WavLMForXVector(config)
        self.network.classifier = self.network.objective = nn.Identity()  # the head of another training

    def embed(self, waveform: Tensor) -> Tensor:
        """Embeds waveforms (batch, time) as (batch, dim), not normalised."""
        frames = self._num_frames(waveform.shape[1])
        if frames < 2:
            raise ValueError(f"waveform must give at least 2 frames to pool, got {waveform.shape[1]} samples")
        if self.normalize:
            centred = waveform - waveform.mean(dim=1, keepdim=True)
            waveform = centred / (centred.square().mean(dim=1, keepdim=True) + NORMALISATION_FLOOR).sqrt()
        return self.network(waveform).embeddings

    def _num_frames(self, time: int) -> int:
        """Frames that reach the pooling."""
        config = self.network.config
        for kernel, stride in zip(config.conv_kernel, config.conv_stride, strict=True):
            time = (time - kernel) // stride + 1
        return time - sum(d * (k - 1) for d, k in zip(config.tdnn_dilation, config.tdnn_kernel, strict=True))


def load_wavlm(folder: Path) -> WavLM:
    """Loads a local copy of a published folder; never asks the hub.

    Args:
        folder: Folder with `config.json`, `model.safetensors` or `pytorch_model.bin`, and `preprocessor_config.json`
            if the input is not to be normalised.

    Raises:
        CheckpointError: If a file is missing or not what it should be, or weights are missing; the message says which.
    """
    config = _read_json(folder / "config.json")
    if config.get("model_type") != "wavlm":
        raise CheckpointError(f"{folder / 'config.json'}: model_type must be 'wavlm', got {config.get('model_type')!r}")
    if not any((folder / name).is_file() for name in ("model.safetensors", "pytorch_model.bin")):
        raise CheckpointError(f"{folder} must hold model.safetensors or pytorch_model.bin, got neither")
    preprocessor = folder / "preprocessor_config.json"
    normalize = _read_json(preprocessor).get("do_normalize", True) if preprocessor.is_file() else True
    try:
        published, report = WavLMForXVector.from_pretrained(
            folder, local_files_only=True, weights_only=True, output_loading_info=True
        )
    except Exception as error:  # transformers and torch raise many kinds for files that are torn, foreign or pickles
        raise CheckpointError(f"the weights in {folder} cannot be read: {str(error).splitlines()[0]}") from error
    missing = [name for name in report["missing_keys"] if not name.startswith(TRAINING_HEAD)]
    if missing or report["mismatched_keys"]:
        raise CheckpointError(f"{folder} lacks weights of a WavLM x-vector: {', '.join(sorted(missing)[:3])}")
    encoder = WavLM(_architecture(published.config), normalize)
    state = published.state_dict()
    encoder.network.load_state_dict({name: state[name] for name in encoder.network.state_dict()})
    return encoder.eval()


def _architecture(config: WavLMConfig) -> dict[str, Any]:
    """What differs from the defaults, so that encoders built by hand from the same numbers have the same config."""
    given, default = config.to_dict(), WavLMConfig().to_dict()
    names = _known() - OFF.keys() - {"output_hidden_size"}  # which follows from hidden_size
    return {name: given[name] for name in sorted(names) if given[name] != default[name]}


def _known() -> set[str]:
    return set(inspect.get_annotations(WavLMConfig))  # its own: what it inherits is about files and labels


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} must hold a mapping, got {content!r}")
    return content
