"""`voxcert attack`."""

import argparse
import re
import shlex
from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from voxcert.attacks import Attack
from voxcert.cli.errors import messages_for_errors
from voxcert.cli.options import (
    add_purifier,
    encoder_parser,
    given,
    instantiate,
    named_encoder,
    named_purifier,
    parse,
    settings,
)
from voxcert.data.datamodule import SpeakerDataModule
from voxcert.evaluation.attack.comparison import ROBUST_PLOT, describe_attacks
from voxcert.evaluation.attack.description import attack_names
from voxcert.evaluation.attack.job import attack_speakers
from voxcert.evaluation.attack.settings import AttackSettings
from voxcert.evaluation.defence.encoder import DefendedEncoder
from voxcert.evaluation.run.job import Provenance


def attack(args: list[str]) -> None:
    """Attacks an encoder: enrols speakers, runs any attack on every test utterance, writes rows, table and plot."""
    parser = attack_parser()
    config, plain = parse(parser, args)
    with messages_for_errors():
        _check_targeted(args, config)
        parts = instantiate(parser, config)
        purifier = named_purifier(config, parts)
        encoder, encoder_id = named_encoder(config, parts.encoder, purifier)
        attack_speakers(
            encoder if purifier is None else DefendedEncoder(purifier, encoder),
            parts.data,
            parts.attack,
            settings(AttackSettings, config),
            Provenance(
                encoder_id,
                given(plain, "checkpoint", "encoder", "purifier", "attack", "data"),
                f"voxcert attack {shlex.join(args)}",
            ),
        )
        certified = [config.certified] if config.certified else []
        print(f"\n{describe_attacks([config.output_dir], certified)}\n\n{Path(config.output_dir) / ROBUST_PLOT}")


def _check_targeted(args: list[str], config: Namespace) -> None:
    """Refuses a flag of the attack that contradicts `--targeted`; a config may hold the default of every setting."""
    flagged = any(re.match(r"--attack\.(init_args\.)?targeted\b", arg) for arg in args)
    if flagged and (own := config.attack.init_args.targeted) != config.targeted:
        got = f"{own} there and {config.targeted} here".lower()
        raise ValueError(f"attack.targeted must be left to the option targeted, got {got}")


def attack_parser() -> ArgumentParser:
    """The options of `voxcert attack`."""
    parser = encoder_parser("attack")
    add_purifier(parser)
    chosen = parser.add_argument(
        "--attack",
        type=Attack,
        required=True,
        help=f"One of voxcert.attacks ({', '.join(attack_names())}) and its settings, such as --attack.class_path "
        "voxcert.attacks.pgd --attack.epsilon 0.002; or a function of one's own, of the same call shape.",
    )
    # An attack is a function that returns a tensor, which jsonargparse takes for a choice among classes of tensors.
    chosen.extra_help = lambda: ""
    parser._option_string_actions["--attack.help"].help = argparse.SUPPRESS
    parser.add_class_arguments(AttackSettings, None)
    parser.add_class_arguments(SpeakerDataModule, "data", sub_configs=True)
    return parser
