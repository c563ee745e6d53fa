"""A control that is no recognizer: it hears the quietest frames alone, where nobody speaks.

Whoever is recognised by it is recognised by room, microphone and session. What it gets right on a corpus, any encoder
could get right there without knowing a voice.
"""

from torch import Tensor

from voxcert.encoders.base import FeatureEncoder
from voxcert.encoders.frontends import KaldiFbank


class QuietFrames(FeatureEncoder):
    """Mean log-mel spectrum of the quietest frames, its own mean subtracted: their colour, at any loudness.

    It has no weights.

    Args:
        share: Share of the frames that are heard, in (0, 1].
        num_mels: Mel bands, the size of the embedding.

    Raises:
        ValueError: If an argument is out of range, or a waveform is shorter than one frame (400 samples).
    """

    def __init__(self, share: float = 0.1, num_mels: int = 80):
        super().__init__()
        if not 0 < share <= 1:
            raise ValueError(f"share must be in (0, 1], got {share}")
        self.share, self.dim = share, num_mels
        self.frontend = KaldiFbank(num_mels, window="povey", mean_norm=False)

    def embed_features(self, features: Tensor) -> Tensor:
        """Embeds log-mel features (batch, frames, num_mels) as (batch, num_mels)."""
        count = max(1, round(self.share * features.shape[1]))
        quiet = features.mean(dim=2).topk(count, dim=1, largest=False).indices
        spectrum = features.take_along_dim(quiet[..., None], dim=1).mean(dim=1)
        return spectrum - spectrum.mean(dim=1, keepdim=True)
