"""What a certification run is about: an encoder with its enrolled speakers, in a folder, on one or many devices.

Everything that decides the certified function is settled and kept here, once for all processes and for continuing.
"""

import math
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Any

import torch
from lightning.fabric import Fabric
from torch import Tensor, nn

from voxcert.encoders.base import Recognizer, enroll
from voxcert.evaluation.certification.folder import read_prototypes, write_prototypes
from voxcert.evaluation.certification.represented import at_representation
from voxcert.evaluation.certification.settings import CertificationSettings
from voxcert.evaluation.run.folder import comparable, read_config, write_config
from voxcert.evaluation.run.job import Provenance, SpeakerData, started
from voxcert.evaluation.run.processes import FilledBatches, at_hand
from voxcert.evaluation.run.speakers import MADE_UP, so_many
from voxcert.evaluation.run.speed import (
    at_precision,
    compiled,
    distance,
    faster,
    float32_products,
    in_precision,
    worth_compiling,
)
from voxcert.smoothing.batching import fastest_batch_size
from voxcert.smoothing.kept_embeddings import KeptEmbeddings
from voxcert.smoothing.sampler import ESTIMATE_START, NoisySampler, grid_of


@dataclass(frozen=True)
class System:
    """An encoder with its enrolled speakers, ready to be certified.

    Attributes:
        recognizer: The encoder and the speakers that the run's folder keeps.
        items: Test items; their "waveform" is what noise is added to.
        settings: With the batch size settled.
        config: All settings as the folder keeps them.
        fabric: The processes.
        moved: How far the precision moves the embedding of a noisy copy from that in float32, at most; None in float32.
    """

    recognizer: Recognizer
    items: Sequence[dict[str, Any]]
    settings: CertificationSettings
    config: dict[str, Any]
    fabric: Fabric
    moved: float | None

    def described(self, provenance: Provenance) -> dict[str, Any]:
        """What a summary says of it."""
        return {
            "command": provenance.command,
            "settings": comparable(self.config),
            "checkpoint_hash": provenance.encoder_id,
            **({} if self.moved is None else {"moved_from_float32": self.moved}),
            "num_speakers": len(self.recognizer.speakers),
            "num_made_up": sum(name.startswith(MADE_UP) for name in self.recognizer.speakers),
            "versions": {name: version(name) for name in ("torch", "lightning", "speechbrain", "numpy", "scipy")},
        }


@contextmanager
def enrolled(
    encoder: nn.Module, data: SpeakerData, settings: CertificationSettings, provenance: Provenance
) -> Iterator[System]:
    """Starts a run in its folder and enrols the speakers of `data`.

    Args:
        encoder: Waveform (batch, time) -> unit embedding (batch, dim), in eval mode.
        data: Enrolment batches and test items.
        settings: How to certify.
        provenance: Hash of the encoder, and what made it and the data.

    Raises:
        ValueError: If the folder holds a run with other settings or data (the message names them), the encoder has no
            representation to put noise at, or enrolment fails.
    """
    config = provenance.config(settings)
    config |= {"accelerator": at_hand(settings.accelerator)}
    processes = settings.accelerator, settings.devices, settings.num_nodes, settings.precision
    may_differ = ["compile"] if settings.compile == "auto" else []  # it is as the folder's run found it
    may_differ += ["radii"] if settings.task == "identification" else []  # which rows of verification are about
    with started(settings.output_dir, config, data.plan("test"), *processes, may_differ=may_differ) as fabric:
        encoder, data = at_representation(encoder.to(fabric.device).eval(), data, settings.noise_at, fabric.device)
        in_full, items = encoder, data.items("test")
        encoder = FilledBatches(at_precision(encoder, settings.precision)).eval()
        kept = kept_embeddings(settings, provenance.encoder_id)
        settings = _prepare_folder(settings, config, kept, encoder, items, fabric)
        config |= {"compile": settings.compile}
        recognizer = _enrol(encoder, kept, data, settings, fabric)
        probe = _probe(items, settings, fabric.device) if settings.compile or settings.precision != 32 else None
        moved = None if probe is None or settings.precision == 32 else _moved(in_full, encoder, probe)
        if probe is not None and settings.compile:
            recognizer.encoder = compiled(encoder, probe)
        yield System(recognizer, items, settings, config, fabric, moved)


def kept_embeddings(settings: CertificationSettings, encoder_id: str) -> KeptEmbeddings | None:
    """Where a run keeps the embeddings of noisy copies, and takes them from; None if it does not."""
    if settings.embeddings is None:
        return None
    return KeptEmbeddings(settings.embeddings, f"{in_precision(encoder_id, settings.precision)} {settings.noise_at}")


def enroll_speakers(
    encoder: nn.Module, batches: Iterable[dict], settings: CertificationSettings, device: torch.device
) -> Recognizer:
    """Enrols as the settings say: on clean speech, or under `enroll_noise` draws of the certificate's noise."""
    noise = {"sigma": settings.sigma, "num_noise": settings.enroll_noise, "seed": settings.seed}
    return enroll(encoder, batches, device=device, **noise)


def find_batch_size(
    encoder: Callable[[Tensor], Tensor], items: Any, settings: CertificationSettings, device: torch.device
) -> int:
    """Finds the fastest batch size on `device` for the first readable item; 1 if there is none."""
    waveform = _first_waveform(items)
    if waveform is None:
        return 1
    with torch.inference_mode():
        return fastest_batch_size(encoder, waveform.to(device), max(settings.num_select, settings.num_estimate))


def _prepare_folder(
    settings: CertificationSettings,
    config: dict[str, Any],
    kept: KeptEmbeddings | None,
    encoder: nn.Module,
    items: Any,
    fabric: Fabric,
) -> CertificationSettings:
    """Settles what is automatic and keeps the settings; returns those of all processes."""
    if fabric.is_global_zero:
        settings = _with_batch_size(settings, encoder, items, fabric)
        settings = _with_compile(settings, kept, encoder, items, fabric)
        write_config(settings.output_dir, config | {"batch_size": settings.batch_size, "compile": settings.compile})
    return fabric.broadcast(settings)  # which the others wait for


def _with_batch_size(
    settings: CertificationSettings, encoder: Callable[[Tensor], Tensor], items: Any, fabric: Fabric
) -> CertificationSettings:
    """Settles an automatic batch size: the one the folder was made with, or else the fastest.

    Sums of floats depend on it in the last digit, so all processes, and a continued run, use the same.
    """
    if settings.batch_size != "auto":
        return settings
    found = read_config(settings.output_dir)
    if found is not None:
        return replace(settings, batch_size=found["batch_size"])
    return replace(settings, batch_size=find_batch_size(encoder, items, settings, fabric.device))


def _with_compile(
    settings: CertificationSettings, kept: KeptEmbeddings | None, encoder: nn.Module, items: Any, fabric: Fabric
) -> CertificationSettings:
    """Settles an automatic `compile`: as the folder was made, or else whether generated code is worth it here.

    What it takes to generate counts, and so does a wrong result.
    """
    if settings.compile != "auto":
        return settings
    found = read_config(settings.output_dir) or {}
    if found.get("compile", "auto") != "auto":
        return replace(settings, compile=found["compile"])
    probe = _probe(items, settings, fabric.device)
    num_rows = len(items) * (settings.num_select + settings.num_estimate) / fabric.world_size
    if _first_is_kept(kept, items, settings, fabric.device):
        num_rows = 0  # it stands for all
    if probe is None or not worth_compiling(encoder, probe, num_rows):
        return replace(settings, compile=False)
    try:
        return replace(settings, compile=faster(encoder, compiled(encoder, probe), probe))
    except ValueError as error:
        print(f"goes on without generated code: {error}", file=sys.stderr)
        return replace(settings, compile=False)


def _first_is_kept(
    kept: KeptEmbeddings | None, items: Any, settings: CertificationSettings, device: torch.device
) -> bool:
    """Whether all that is asked about the first readable item is embedded already."""
    item = _first_readable(items)
    if kept is None or item is None:
        return False
    grid = grid_of(settings.noise_at)
    sampler = NoisySampler(item["waveform"].to(device), settings.sigma, settings.seed, item["utterance"], grid)
    first, stop = (ESTIMATE_START + sample for sample in settings.samples)
    return kept.holds(sampler, 0, settings.num_select) and kept.holds(sampler, first, stop)


def _first_readable(items: Any) -> dict[str, Any] | None:
    """The first item whose audio could be read; None if there is none."""
    return next((item for item in map(items.__getitem__, range(len(items))) if "error" not in item), None)


def _first_waveform(items: Any) -> Tensor | None:
    """What is heard in the first readable item, (time,); None if there is none."""
    item = _first_readable(items)
    return None if item is None else item["waveform"]


def _probe(items: Any, settings: CertificationSettings, device: torch.device) -> Tensor | None:
    """Noisy copies of the first readable item, as many as a forward takes, (batch_size, time)."""
    waveform = _first_waveform(items)
    if waveform is None:
        return None
    generator = torch.Generator().manual_seed(settings.seed)
    noise = torch.randn(settings.batch_size, len(waveform), generator=generator)
    return (waveform.cpu() + settings.sigma * noise).to(device)


def _moved(in_full: nn.Module, encoder: nn.Module, probe: Tensor) -> float:
    """How far the run's precision moves embeddings from those in float32; the summary says it.

    Raises:
        ValueError: If they are not finite.
    """
    with torch.inference_mode():
        embeddings = encoder(probe)
        with float32_products(32):
            moved = distance(embeddings, in_full(probe))
    if not math.isfinite(moved):
        raise ValueError("precision must be one in which embeddings are finite, got one in which a probe's is not")
    return moved


def _enrol(
    encoder: nn.Module,
    kept: KeptEmbeddings | None,
    data: SpeakerData,
    settings: CertificationSettings,
    fabric: Fabric,
) -> Recognizer:
    """Enrols in the first process, or takes the speakers that the folder has; the same prototypes for all."""
    if fabric.is_global_zero and read_prototypes(settings.output_dir) is None:
        embed = encoder if kept is None else kept.through(encoder)
        recognizer = enroll_speakers(embed, data.enrollment_dataloader("test"), settings, fabric.device)
        names = [one.speaker for one in data.tested("test")]
        recognizer = so_many(recognizer, names, settings.num_speakers, settings.seed)
        write_prototypes(settings.output_dir, recognizer.prototypes, recognizer.speakers)
    fabric.barrier("the speakers are enrolled")
    prototypes, speakers = read_prototypes(settings.output_dir)
    return Recognizer(encoder, prototypes.to(fabric.device), speakers)
