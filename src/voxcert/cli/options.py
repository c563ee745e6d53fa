"""Options that several commands share: which encoder, which purifier, which words."""

import sys
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

import torch
import yaml
from jsonargparse import ArgumentParser

from voxcert.cli.configs import with_files
from voxcert.cli.errors import messages_for_errors
from voxcert.cli.parser import check_output_dir, command_parser
from voxcert.encoders.base import Encoder
from voxcert.encoders.checkpoint import CheckpointError
from voxcert.encoders.loading import encoder_hash, load_encoder, source_hash
from voxcert.evaluation.defence.encoder import denoising, encoder_of, open_purifier, system_id
from voxcert.purifiers import Purifier
from voxcert.purifiers.hearing import Aud2Vec, Transcriber
from voxcert.purifiers.text import TextEmbedder

Settings = TypeVar("Settings")


def encoder_parser(command: str, program: str | None = None) -> ArgumentParser:
    """A parser as `command_parser` makes it, with the options that name an encoder."""
    parser = command_parser(command, program)
    add_config(parser)
    parser.add_argument(
        "--checkpoint",
        type=str | None,
        help="Folder such as checkpoints/ecapa-mini, or published weights (docs/encoders.md).",
    )
    parser.add_subclass_arguments(
        Encoder,
        "encoder",
        required=False,
        help="Instead of a checkpoint: a config such as encoder/campplus.yaml; random weights, to try it out.",
    )
    parser.add_argument(
        "--checkpoint_hash", type=str | None, help="Refuse other weights; the config.yaml of a run holds those it had."
    )
    return parser


def add_config(parser: ArgumentParser) -> None:
    """Adds `--config`."""
    parser.add_argument(
        "--config",
        action="config",
        help="YAML file with any of the options below, which win over it as flags; of several the later ones win.",
    )


def add_purifier(parser: ArgumentParser, required: bool = False) -> None:
    """Adds `--purifier`; where it is not required, it goes before the encoder."""
    use = "" if required else "Put before the encoder, which it is certified or attacked with; with a sigma, a "
    use += "" if required else "diffusion purifier denoises in one shot at that sigma. "
    parser.add_argument(
        "--purifier",
        type=Purifier | str if required else Purifier | str | None,
        required=required,
        enable_path=True,
        help=f"{use}A folder such as checkpoints/dap-mini, a config such as purifier/gaussian.yaml, or one of "
        "voxcert.purifiers with its settings, such as --purifier.std 2.",
    )


def add_words(parser: ArgumentParser) -> None:
    """Adds `--text_embedder` and `--transcriber`."""
    embedder, transcriber = "Text to embedding, for purifiers that read", "Speech to text, for purifiers that listen"
    parser.add_subclass_arguments(TextEmbedder, "text_embedder", required=False, help=f"{embedder}.")
    parser.add_subclass_arguments(Transcriber, "transcriber", required=False, help=f"{transcriber}.")


def check_words(config: Any) -> None:
    """Refuses a transcriber without an embedder, before either is loaded."""
    if config.transcriber is not None and config.text_embedder is None:
        raise ValueError("text_embedder must be given beside a transcriber, got null")


def parse(parser: ArgumentParser, args: list[str]) -> tuple[Any, dict[str, Any]]:
    """The configuration, and the same as plain values, as YAML holds them; configs are found by name."""
    with messages_for_errors():
        args = with_files(args)
    config = parser.parse_args(args)
    with messages_for_errors():
        check_output_dir(config.get("output_dir", "run"))
    return config, yaml.safe_load(parser.dump(config, skip_unset=False))


def instantiate(parser: ArgumentParser, config: Any) -> Any:
    """Builds what the configuration names; weights that nothing is loaded into depend on its seed alone."""
    if not -(2**63) <= config.seed < 2**64:
        raise ValueError(f"seed must be in [-2^63, 2^64), which torch takes, got {config.seed}")
    torch.manual_seed(config.seed)
    return parser.instantiate(config)


def settings(kind: type[Settings], values: Any) -> Settings:
    """The settings of a job, from a configuration that holds more."""
    return kind(**{field.name: values[field.name] for field in fields(kind)})


def given(plain: dict[str, Any], *names: str) -> dict[str, Any]:
    """The settings of these names that have a value."""
    return {name: plain[name] for name in names if plain[name] is not None}


def named_encoder(config: Any, untrained: Encoder | None, purifier: Purifier | None = None) -> tuple[Encoder, str]:
    """The encoder that `--checkpoint` or `--encoder` names, and the hash of the system that it is part of."""
    if (config.checkpoint is None) == (untrained is None):
        got = "none" if untrained is None else "both"
        raise ValueError(f"one of checkpoint and encoder must be given, got {got}")
    if untrained is not None:
        print("the encoder has random weights: what follows says nothing about a trained one", file=sys.stderr)
    encoder = load_encoder(config.checkpoint) if untrained is None else untrained.eval()
    own = source_hash(config.checkpoint, encoder) if untrained is None else encoder_hash(encoder)
    encoder_id = system_id(own, purifier)
    if config.checkpoint_hash not in (None, encoder_id, encoder_of(encoder_id)):
        where = "random weights" if untrained is not None else config.checkpoint
        raise CheckpointError(f"checkpoint_hash must be {config.checkpoint_hash}, got {encoder_id} in {where}")
    return encoder, encoder_id


def named_purifier(config: Any, parts: Any) -> Purifier | None:
    """The purifier that `--purifier` names, matched to the smoothing noise; None where there is none."""
    return None if parts.purifier is None else denoising(open_purifier(parts.purifier), config.sigma)


def open_listener(parts: Any, folder: str) -> Aud2Vec | None:
    """What hears for a purifier that reads, and keeps it in the output folder; None without a transcriber."""
    if parts.transcriber is None:
        return None
    return Aud2Vec(parts.transcriber, parts.text_embedder, Path(folder) / "heard")
