"""An encoder behind a purifier: where the purifier comes from, how the system is named, and how it is certified.

Denoise, then classify (Salman et al. 2020, Carlini et al. 2023): the purifier and the encoder are one function of the
noisy waveform, so every rule that certifies an encoder certifies both together.
"""

from functools import partial
from pathlib import Path
from typing import Any

import yaml
from torch import Tensor, nn

from voxcert.attacks import StraightThrough
from voxcert.encoders.loading import encoder_hash
from voxcert.purifiers.base import Purifier
from voxcert.purifiers.checkpoint import build_purifier, load_purifier
from voxcert.purifiers.diffusion import DiffusionPurifier, OneShotDenoiser


class DefendedEncoder(nn.Module):
    """A purifier with what it is told about the words, and an encoder behind it.

    Gradients for an adaptive attack are the purifier's own, or go straight through it (BPDA, Athalye et al. 2018) where
    it has none.

    Args:
        purifier: Waveform (batch, time) and text -> waveform.
        encoder: Waveform (batch, time) -> unit embedding (batch, dim).
        text: Embeddings of what is said, shape (utterances, 768); None where nothing is known. A batch may hold all
            utterances several times over, as an expectation over the purifier's randomness makes it.
    """

    def __init__(self, purifier: Purifier, encoder: nn.Module, text: Tensor | None = None):
        super().__init__()
        self.purifier, self.encoder = purifier, encoder
        self.register_buffer("text", text, persistent=False)

    def forward(self, waveform: Tensor) -> Tensor:
        """Embeds waveforms (batch, time), once purified, as (batch, dim).

        Raises:
            ValueError: If the batch is not the utterances whose text is known, once or several times over.
        """
        if self.text is not None and len(waveform) % len(self.text):
            raise ValueError(f"waveform must have a multiple of {len(self.text)} rows, got {len(waveform)}")
        text = None if self.text is None else self.text.repeat(len(waveform) // len(self.text), 1)
        step = partial(self.purifier, text=text)
        return self.encoder((step if self.purifier.differentiable else StraightThrough(step))(waveform))


def open_purifier(source: str | Path | dict[str, Any] | Purifier) -> Purifier:
    """The purifier that a user names, in eval mode.

    Args:
        source: A checkpoint folder, a YAML file with class_path and init_args, these two, or a purifier.

    Raises:
        ValueError: If the folder or the file does not hold a purifier.
    """
    if isinstance(source, Purifier):
        return source.eval()
    if isinstance(source, dict):
        return build_purifier(source).eval()
    path = Path(source)
    if path.suffix not in (".yaml", ".yml"):
        return load_purifier(path).eval()
    try:
        return build_purifier(yaml.safe_load(path.read_text())).eval()
    except (OSError, yaml.YAMLError) as error:
        raise ValueError(f"purifier must be a folder or a YAML file that can be read, got {source}: {error}") from error


def denoising(purifier: Purifier, sigma: float | None) -> Purifier:
    """The purifier as it stands before an encoder that is smoothed: one function of the waveform, matched to the noise.

    Args:
        purifier: Any; a diffusion purifier becomes the one-shot denoiser of `sigma`, others stay what they are.
        sigma: Of the smoothing noise; None where the system is not smoothed, and nothing is matched.

    Raises:
        ValueError: If the purifier draws fresh noise on every call: what it does could not be repeated.
    """
    if purifier.seed is None:
        raise ValueError(
            f"purifier must have a seed here, so that it is one function of the waveform, got "
            f"{type(purifier).__name__} with seed null (fresh noise on every call)"
        )
    if sigma is not None and isinstance(purifier, DiffusionPurifier):
        return OneShotDenoiser(purifier, sigma).eval()
    return purifier


def system_id(encoder_id: str, purifier: Purifier | None) -> str:
    """Names a system in rows: the encoder's hash, and after a + the purifier's, as `encoder_hash` makes it."""
    return encoder_id if purifier is None else f"{encoder_id}+{encoder_hash(purifier)}"


def encoder_of(system: str) -> str:
    """The encoder's hash in the name of a system."""
    return system.partition("+")[0]
