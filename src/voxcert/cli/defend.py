"""`voxcert defend`."""

import shlex
from pathlib import Path

from jsonargparse import ArgumentParser

from voxcert.attacks import Attack
from voxcert.cli.errors import messages_for_errors
from voxcert.cli.options import (
    add_words,
    check_words,
    encoder_parser,
    given,
    instantiate,
    named_encoder,
    open_listener,
    parse,
    settings,
)
from voxcert.data.datamodule import SpeakerDataModule
from voxcert.evaluation.defence.job import DEFENCES_PLOT, compare_defences
from voxcert.evaluation.defence.settings import Defence, DefenceSettings
from voxcert.evaluation.defence.tables import render_defences
from voxcert.evaluation.run.job import Provenance


def defend(args: list[str]) -> None:
    """Compares purifiers as defences: error rates, genuine, attacked and adaptively attacked, and speech quality."""
    parser = defend_parser()
    config, plain = parse(parser, args)
    with messages_for_errors():
        check_words(config)
        parts = instantiate(parser, config)
        encoder, encoder_id = named_encoder(config, parts.encoder)
        names = ("checkpoint", "encoder", "defences", "attacks", "text_embedder", "transcriber", "data")
        summary = compare_defences(
            encoder,
            parts.data,
            parts.defences,
            parts.attacks,
            settings(DefenceSettings, config),
            Provenance(encoder_id, given(plain, *names), f"voxcert defend {shlex.join(args)}"),
            text_embedder=parts.text_embedder,
            listener=open_listener(parts, config.output_dir),
        )
        print(f"\n{render_defences(summary['defences'])}\n\n{Path(config.output_dir) / DEFENCES_PLOT}")


def defend_parser() -> ArgumentParser:
    """The options of `voxcert defend`."""
    parser = encoder_parser("defend")
    parser.add_argument(
        "--defences",
        type=list[Defence],
        required=True,
        help="What to compare with each other and with no defence: name, purifier (folder, file, or class with "
        "settings) and, for one that reads, text (none, transcript, wrong or heard).",
    )
    parser.add_argument(
        "--attacks", type=dict[str, Attack], required=True, help="Name -> one of voxcert.attacks with its budget."
    )
    add_words(parser)
    parser.add_class_arguments(DefenceSettings, None)
    parser.add_class_arguments(SpeakerDataModule, "data", sub_configs=True)
    return parser
