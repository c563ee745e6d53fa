"""The contract that every speaker encoder keeps, and the recognizer that compares embeddings with enrolled speakers.

Enrolment follows eq. (1) of Korzh et al. 2024 (arXiv 2404.18791), with the prototypes normalised *after* averaging: the
mean of unit vectors is not a unit vector, and every certificate here assumes unit prototypes.
"""

import inspect
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from voxcert.encoders.frontends import Frontend


def public_path(cls: type) -> str:
    """How configs and checkpoints name a class: where an outer package shows it, or else its module.

    Files may then move inside a package without a checkpoint noticing.
    """
    parts = cls.__module__.split(".")
    for length in range(1, len(parts)):
        package = ".".join(parts[:length])
        if getattr(sys.modules.get(package), cls.__name__, None) is cls:
            return f"{package}.{cls.__qualname__}"
    return f"{cls.__module__}.{cls.__qualname__}"


def check_tensor(waveform: Any) -> None:
    """Checks that something is a tensor (batch, time) of floating-point numbers, of any precision and length.

    Args:
        waveform: Any object.

    Raises:
        ValueError: If it is not; says what it is and how to make one.
    """
    wanted = "waveform must be a float32 tensor of shape (batch, time) in [-1, 1]"
    if not isinstance(waveform, Tensor):
        hint = ": torch.from_numpy(waveform).float() makes one" if type(waveform).__module__ == "numpy" else ""
        raise ValueError(f"{wanted}, got {type(waveform).__module__}.{type(waveform).__qualname__}{hint}")
    if waveform.ndim != 2:
        hint = ": waveform[None] is a batch of one" if waveform.ndim == 1 else ""
        raise ValueError(f"waveform must have shape (batch, time), got {tuple(waveform.shape)}{hint}")
    if not waveform.is_floating_point():
        raise ValueError(f"{wanted}, got {waveform.dtype} (16-bit numbers are divided by 32768)")


def check_waveform(waveform: Any) -> None:
    """Checks what an encoder is given, by its type and shape alone: to look at samples would make an accelerator wait.

    Args:
        waveform: Any object.

    Raises:
        ValueError: If it is no tensor (batch, time) of float32 (or of half precision) with a sample.
    """
    check_tensor(waveform)
    if waveform.dtype == torch.float64:
        raise ValueError(f"waveform must be float32, got {waveform.dtype}: waveform.float() is")
    if not waveform.numel():
        raise ValueError(f"waveform must have at least one row and one sample, got shape {tuple(waveform.shape)}")


class Configured:
    """Remembers how it was built, so that it can be built again without the run it comes from.

    Attributes:
        config: `{"class_path": ..., "init_args": {...}}`, recorded on construction; arguments that were built
            themselves are there as their own config.
    """

    config: dict[str, Any]

    def __new__(cls, *args: Any, **kwargs: Any):
        """Records the arguments."""
        thing = super().__new__(cls)
        bound = inspect.signature(cls).bind_partial(*args, **kwargs)  # partial: copies are made without arguments
        bound.apply_defaults()
        arguments = {name: _plain(value) for name, value in bound.arguments.items()}
        thing.config = {"class_path": public_path(cls), "init_args": arguments}
        return thing


def _plain(value: Any) -> Any:
    """An argument as plain data: what was built by what it was built from."""
    config = getattr(value, "config", None)
    if config is None:
        return list(value) if isinstance(value, tuple) else value
    if "class_path" in config:
        return config
    path = f"{type(value).__module__}.{type(value).__qualname__}"  # of diffusers, which keeps arguments alone
    arguments = {name: _plain(argument) for name, argument in config.items() if not name.startswith("_")}
    return {"class_path": path, "init_args": arguments}


class Encoder(Configured, nn.Module, ABC):
    """A speaker encoder: waveform (batch, time) in [-1, 1] at 16 kHz -> embedding (batch, dim) of unit norm.

    Subclasses set `dim` and write `embed`. They promise that a batch row equals the single call on that row, that
    gradients reach the waveform, and that nothing is fetched from a network unless asked.

    Attributes:
        dim: Size of the embedding.
        config: How to build it again, see `Configured`.
    """

    dim: int

    @abstractmethod
    def embed(self, waveform: Tensor) -> Tensor:
        """Embeds waveforms (batch, time) as vectors (batch, dim) of any norm."""

    def forward(self, waveform: Tensor) -> Tensor:
        """Embeds waveforms.

        Args:
            waveform: Shape (batch, time), amplitude in [-1, 1], 16 kHz.

        Returns:
            Unit embeddings, shape (batch, dim), float32 even under autocast.

        Raises:
            ValueError: If `waveform` is no such tensor (a NaN makes its row NaN: `enroll`, `Certifier` and attacks look
                for them once, before they begin), or is too short for the network.
        """
        check_waveform(waveform)
        return F.normalize(self.embed(waveform).float(), dim=-1)


class FeatureEncoder(Encoder):
    """An encoder made of a front-end and a network on its features; noise can enter at what lies between.

    Subclasses set `frontend` and write `embed_features`.

    Attributes:
        frontend: Waveform (batch, time) -> features (batch, frames, num_features).
    """

    frontend: Frontend

    def embed(self, waveform: Tensor) -> Tensor:
        """Embeds waveforms (batch, time) as (batch, dim), not normalised."""
        return self.embed_features(self.frontend(waveform))

    @abstractmethod
    def embed_features(self, features: Tensor) -> Tensor:
        """Embeds features (batch, frames, num_features) as vectors (batch, dim) of any norm."""


class Recognizer(nn.Module):
    """An encoder and the speakers enrolled with it.

    Args:
        encoder: Waveform (batch, time) -> unit embedding (batch, dim).
        prototypes: One unit vector per speaker, shape (speakers, dim).
        speakers: Names, in the order of `prototypes`.

    Examples:
        >>> import torch
        >>> import voxcert
        >>> tones = 0.1 * torch.sin(torch.arange(16000) * torch.tensor([[0.04], [0.08]]))  # 102 and 204 Hz
        >>> encoder = voxcert.load_encoder("checkpoints/ecapa-mini")
        >>> recognizer = voxcert.Recognizer(encoder, encoder(tones).detach(), ["low", "high"])
        >>> scores = recognizer(tones)  # (waveforms, speakers)
        >>> [recognizer.speakers[index] for index in scores.argmax(dim=1)]
        ['low', 'high']
    """

    prototypes: Tensor

    def __init__(self, encoder: nn.Module, prototypes: Tensor, speakers: Sequence[str]):
        super().__init__()
        if not isinstance(prototypes, Tensor) or prototypes.ndim != 2:
            shape = tuple(getattr(prototypes, "shape", ()))
            raise ValueError(
                f"prototypes must be a tensor (speakers, dim), got {type(prototypes).__name__} of shape {shape}"
            )
        if len(speakers) != len(prototypes):
            raise ValueError(f"speakers must name each of the {len(prototypes)} prototypes, got {len(speakers)}")
        self.encoder = encoder
        self.speakers = list(speakers)
        self.register_buffer("prototypes", prototypes)

    def forward(self, waveform: Tensor) -> Tensor:
        """Scores waveforms (batch, time) against every speaker: cosines, shape (batch, speakers).

        The product is in full precision under autocast too: bf16 has no number between 0.996 and 1, and rivals tie.
        """
        embedding = self.encoder(waveform)
        with torch.autocast(embedding.device.type, enabled=False):
            return embedding.to(self.prototypes.dtype) @ self.prototypes.T


@torch.no_grad()
def enroll(
    encoder: Callable[[Tensor], Tensor],
    batches: Iterable[dict],
    *,
    sigma: float = 0.0,
    num_noise: int = 1,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> Recognizer:
    """Enrols speakers: a prototype is the normalised mean of a speaker's embeddings.

    With `sigma > 0` every segment is embedded `num_noise` times under Gaussian noise. A prototype may be any fixed unit
    vector, so this costs nothing in rigour, and at large sigma it puts prototypes where the smoothed embeddings are.

    Args:
        encoder: Waveform (batch, time) -> unit embedding (batch, dim), in eval mode and on `device`.
        batches: Dicts with `waveform` (batch, time) and `speaker` (a list of names).
        sigma: Standard deviation of the noise, waveform amplitude.
        num_noise: Noise draws per segment when `sigma > 0`; 0 enrols on clean speech.
        seed: Seed of the noise; batch i uses its own generator, so the result depends on the batches alone.
        device: Where the encoder is.

    Returns:
        A recognizer with speakers sorted by name.

    Raises:
        ValueError: If fewer than two speakers are given, a batch is not as described, or a waveform or a prototype is
            not finite or has no direction.

    Examples:
        >>> import torch
        >>> import voxcert
        >>> tones = 0.1 * torch.sin(torch.arange(16000) * torch.tensor([[0.04], [0.08]]))  # 102 and 204 Hz
        >>> encoder = voxcert.load_encoder("checkpoints/ecapa-mini")
        >>> recognizer = voxcert.enroll(encoder, [{"waveform": tones, "speaker": ["low", "high"]}], sigma=0.01)
        >>> recognizer.speakers, recognizer.prototypes.shape
        (['high', 'low'], torch.Size([2, 192]))
    """
    noise = {"sigma": sigma, "num_noise": num_noise, "seed": seed}
    prototypes, speakers = prototypes_of(encoder, batches, device=device, **noise)
    if len(speakers) < 2:
        raise ValueError(f"enrolment needs at least 2 speakers, got {len(speakers)}")
    return Recognizer(encoder, prototypes, speakers)


@torch.no_grad()
def prototypes_of(
    encoder: Callable[[Tensor], Tensor],
    batches: Iterable[dict],
    *,
    sigma: float = 0.0,
    num_noise: int = 1,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> tuple[Tensor, list[str]]:
    """What `enroll` makes of the speakers, one or more: unit vectors (speakers, dim) and names, sorted by name.

    Arguments and errors are those of `enroll`.
    """
    sums: dict[str, Tensor] = {}
    for index, batch in enumerate(batches):
        _check_batch(batch)
        embedding = _mean_embedding(encoder, batch["waveform"].to(device), sigma, num_noise, seed + index)
        for speaker, row in zip(batch["speaker"], embedding.double(), strict=True):
            sums[speaker] = sums[speaker] + row if speaker in sums else row
    if not sums:
        raise ValueError("enrolment needs at least 1 waveform, got none")
    speakers = sorted(sums)
    total = torch.stack([sums[speaker] for speaker in speakers])
    for speaker, norm in zip(speakers, total.norm(dim=-1).tolist(), strict=True):
        if not norm > 0 or norm == float("inf"):
            raise ValueError(f"speaker {speaker!r} cannot be enrolled: the mean embedding has norm {norm}")
    return F.normalize(total, dim=-1).float(), speakers


def _check_batch(batch: Any) -> None:
    """Checks a batch of enrolment; the samples too, since they are looked at once."""
    if not isinstance(batch, Mapping) or not {"waveform", "speaker"} <= batch.keys():
        raise ValueError(f'batches must be a list of {{"waveform": ..., "speaker": ...}}, got {type(batch).__name__}')
    waveform, speakers = batch["waveform"], batch["speaker"]
    check_waveform(waveform)
    named = isinstance(speakers, Sequence) and all(isinstance(one, str) for one in speakers)
    if not named or isinstance(speakers, str) or len(speakers) != len(waveform):
        raise ValueError(f"speaker must be a list of {len(waveform)} names, one for each waveform, got {speakers!r}")
    for speaker, finite in zip(speakers, waveform.isfinite().all(dim=1).tolist(), strict=True):
        if not finite:
            raise ValueError(f"speaker {speaker!r} cannot be enrolled: its waveform has NaN or infinity in it")


def _mean_embedding(encoder, waveform: Tensor, sigma: float, num_noise: int, seed: int) -> Tensor:
    if sigma == 0 or num_noise == 0:
        return encoder(waveform)
    generator = torch.Generator().manual_seed(seed)  # on the CPU: the same noise wherever the encoder is
    total = 0
    for _ in range(num_noise):
        noise = torch.randn(waveform.shape, generator=generator).to(waveform.device)
        total = total + encoder(waveform + sigma * noise)
    return total / num_noise
