"""The system that a certification run was about, read from its folder: what is deployed is what was certified."""

import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from voxcert.data.identity import read_plan
from voxcert.encoders.base import Recognizer
from voxcert.encoders.loading import is_checkpoint, load_encoder, source_hash
from voxcert.evaluation.certification.folder import PROTOTYPES, read_prototypes
from voxcert.evaluation.defence.encoder import DefendedEncoder, denoising, open_purifier, system_id
from voxcert.evaluation.run.folder import PLAN, read_config
from voxcert.evaluation.run.processes import FilledBatches
from voxcert.evaluation.run.speakers import MADE_UP, enrolled_only
from voxcert.evaluation.verification.cohort import read_cohort
from voxcert.smoothing.validation import require

RUN_SETTINGS = ("sigma", "alpha", "num_select", "num_estimate", "batch_size", "enroll_noise")
"""Of a certification run, which its deployed system shares."""


def system_of_run(
    folder: str | Path, checkpoint: str | Path | None, accelerator: str
) -> tuple[nn.Module, Tensor, list[str], dict[str, Any]]:
    """Reads the system of a run; arguments and errors are those of `SmoothedRecognizer.from_run`.

    Returns:
        The encoder, the prototypes (speakers, dim) on the device where everything is to run, the names of the
        speakers, and settings of a `SmoothedRecognizer`.
    """
    config, enrolled = read_config(folder) or {}, read_prototypes(folder)
    if not {"noise_at", "checkpoint_hash", *RUN_SETTINGS} <= config.keys() or enrolled is None:
        raise ValueError(
            f"folder must be the folder of a certification run, got {folder} without {PROTOTYPES} or settings"
        )
    if config["noise_at"] != "waveform":
        raise ValueError(f"folder must be of a run with noise at the waveform, got {folder}: {config['noise_at']}")
    source = checkpoint or config.get("checkpoint")
    if source is None:
        raise ValueError(f"checkpoint must be given: the run in {folder} had an encoder of random weights")
    if checkpoint is None and is_checkpoint(source) and not os.path.exists(source):
        where = (
            "" if os.path.isabs(source) else f" seen from {Path.cwd()}; the run noted a path from where it was started"
        )
        raise ValueError(f"checkpoint must say where the encoder of {folder} is now: {source} does not exist{where}")
    purifier = config.get("purifier")
    purifier = None if purifier is None else denoising(open_purifier(purifier), config["sigma"])
    encoder = load_encoder(source)
    if (found := system_id(source_hash(source, encoder), purifier)) != config["checkpoint_hash"]:
        raise ValueError(f"checkpoint must be {config['checkpoint_hash']}, which {folder} is about, got {found}")
    system = encoder if purifier is None else DefendedEncoder(purifier, encoder)
    device = _device(accelerator, config.get("accelerator", "cpu"), folder)
    prototypes, speakers = enrolled
    if invented := sum(name.startswith(MADE_UP) for name in speakers):
        raise ValueError(f"run must enrol real speakers only to be deployed, got {folder} with {invented} made-up ones")
    settings = {name: config[name] for name in RUN_SETTINGS}
    settings["crop_seconds"] = _crop_seconds(folder, config)
    settings["precision"] = config.get("precision", 32)
    settings["open_set"] = config.get("task") == "open_set"
    if config.get("cohort") is not None:
        settings["cohort"] = read_cohort(folder, prototypes, speakers)
    if settings["open_set"]:
        prototypes, speakers = _nameable(folder, config, Recognizer(system, prototypes, speakers))
    return FilledBatches(system).to(device).eval(), prototypes.to(device), speakers, settings


def channel_of_run(folder: str | Path) -> int | None:
    """The channel that a run read of its recordings; None where it averaged them.

    Raises:
        ValueError: If it read several: nobody knows which one is meant of another recording.
    """
    channels = {one.channel for one in read_plan(Path(folder) / PLAN)} or {None}
    if len(channels) > 1:
        raise ValueError(
            f"channel must be given: the run in {folder} read {sorted(channels, key=str)} of its recordings"
        )
    return channels.pop()


def _crop_seconds(folder: str | Path, config: dict[str, Any]) -> float:
    """What of a recording was heard."""
    data = config.get("data")
    seconds = data.get("crop_seconds") if isinstance(data, dict) else None
    if seconds is None:
        raise ValueError(f"folder must be of a run that noted its data.crop_seconds, got {folder} without")
    return seconds


def _device(wanted: str, recorded: str, folder: str | Path) -> str:
    """Where to compute: where the run did, or where it is asked for."""
    require("accelerator", wanted, "auto, cpu or cuda", wanted in ("auto", "cpu", "cuda"))
    kind = recorded if wanted == "auto" else wanted
    require(f"accelerator in {folder}", kind, "cpu or cuda", kind in ("cpu", "cuda"))
    if kind == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            f"accelerator must be cpu where no CUDA device is at hand, got {wanted} (the run in {folder} computed on "
            f"{recorded}; the last digits of embeddings differ on the other)"
        )
    return kind


def _nameable(folder: str | Path, config: dict[str, Any], everybody: Recognizer) -> tuple[Tensor, list[str]]:
    """Who could be named in the open set of a run."""
    tested = sorted({one.speaker for one in read_plan(Path(folder) / PLAN) if one.role == "test"})
    chosen = enrolled_only(everybody, tested, config["enrolled"], config["seed"])
    return chosen.prototypes, chosen.speakers
