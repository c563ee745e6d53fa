"""ECAPA-TDNN (Desplanques et al. 2020, arXiv 2005.07143), the network being speechbrain's.

The defaults are those of speechbrain/spkrec-ecapa-voxceleb, whose published folder `load_speechbrain` reads.
"""

from pathlib import Path

from speechbrain.lobes.models.ECAPA_TDNN import ECAPA_TDNN
from torch import Tensor

from voxcert.encoders.base import FeatureEncoder
from voxcert.encoders.checkpoint import CheckpointError, read_pickled
from voxcert.encoders.frontends import LogMel
from voxcert.encoders.networks.pooling import require_frames

FEWEST_FRAMES = 5  # one more than the widest dilated convolution mirrors at either end


class ECAPA(FeatureEncoder):
    """ECAPA-TDNN on log-mel features.

    Args:
        channels: Width of the convolution blocks.
        mfa_channels: Width of the multi-layer feature aggregation before pooling.
        dim: Size of the embedding.
        attention_channels: Bottleneck of the attentive statistics pooling.
        se_channels: Bottleneck of the squeeze-and-excitation blocks.
        res2net_scale: Groups of each Res2Net block; must divide `channels`.
        num_mels: Mel bands.
        fft_size: FFT points.
        window_ms: Window length, milliseconds.
        hop_ms: Step between frames, milliseconds.

    Raises:
        ValueError: If `res2net_scale` does not divide `channels`, or if a waveform is shorter than 5 frames.
    """

    def __init__(
        self,
        channels: int = 1024,
        mfa_channels: int = 3072,
        dim: int = 192,
        attention_channels: int = 128,
        se_channels: int = 128,
        res2net_scale: int = 8,
        num_mels: int = 80,
        fft_size: int = 400,
        window_ms: float = 25,
        hop_ms: float = 10,
    ):
        super().__init__()
        if channels % res2net_scale:
            raise ValueError(f"channels must be a multiple of res2net_scale={res2net_scale}, got {channels}")
        self.dim = dim
        self.frontend = LogMel(num_mels, fft_size, window_ms, hop_ms)
        self.network = ECAPA_TDNN(
            num_mels,
            lin_neurons=dim,
            channels=[channels] * 4 + [mfa_channels],
            attention_channels=attention_channels,
            se_channels=se_channels,
            res2net_scale=res2net_scale,
        )

    def embed_features(self, features: Tensor) -> Tensor:
        """Embeds log-mel features (batch, frames, num_mels) as (batch, dim), not normalised."""
        require_frames(features, FEWEST_FRAMES)
        return self.network(features).squeeze(1)


def load_speechbrain(folder: Path) -> ECAPA:
    """Loads a local copy of a speechbrain model folder such as spkrec-ecapa-voxceleb.

    Its hyperparams.yaml is a program and is not read: widths follow from the weights, the front-end is the recipe's
    (80 mel bands, 25 ms windows every 10 ms, mean over time subtracted).

    Args:
        folder: Folder with `embedding_model.ckpt`, a plain state dict.

    Raises:
        CheckpointError: If the file is not a plain state dict, or not that of an ECAPA-TDNN.
    """
    path = folder / "embedding_model.ckpt"
    state = read_pickled(path)
    try:
        encoder = ECAPA(
            channels=state["blocks.0.conv.conv.weight"].shape[0],
            mfa_channels=state["mfa.conv.conv.weight"].shape[0],
            dim=state["fc.conv.weight"].shape[0],
            attention_channels=state["asp.tdnn.conv.conv.weight"].shape[0],
            se_channels=state["blocks.1.se_block.conv1.conv.weight"].shape[0],
            res2net_scale=1 + sum(f"blocks.1.res2net_block.blocks.{i}.conv.conv.weight" in state for i in range(64)),
            num_mels=state["blocks.0.conv.conv.weight"].shape[1],
        )
        encoder.network.load_state_dict(state)
    except (KeyError, AttributeError, TypeError, RuntimeError) as error:
        raise CheckpointError(f"{path} does not hold the weights of an ECAPA-TDNN: {error}") from error
    return encoder.eval()
