"""`certify.py` and `voxcert certify`."""

import shlex
import sys

from jsonargparse import ArgumentParser

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
from voxcert.cli.tables import show, show_trials
from voxcert.data.datamodule import SpeakerDataModule
from voxcert.evaluation.certification.folder import read_run, read_trials_of_run
from voxcert.evaluation.certification.job import certify_speakers
from voxcert.evaluation.certification.settings import CertificationSettings
from voxcert.evaluation.defence.encoder import DefendedEncoder
from voxcert.evaluation.run.job import Provenance
from voxcert.evaluation.verification import verify_speakers


def certify(args: list[str] | None = None, program: str = "voxcert certify") -> None:
    """Certifies an encoder: enrols speakers, proves what no attack can change, writes rows, table and plot.

    Args:
        args: Arguments instead of those of the command line.
        program: How the command was called.
    """
    args = sys.argv[1:] if args is None else args
    parser = certify_parser(program)
    config, plain = parse(parser, args)
    with messages_for_errors():
        parts = instantiate(parser, config)
        purifier = named_purifier(config, parts)
        encoder, encoder_id = named_encoder(config, parts.encoder, purifier)
        identifies = config.task == "identification"
        summary = (certify_speakers if identifies else verify_speakers)(
            encoder if purifier is None else DefendedEncoder(purifier, encoder),
            parts.data,
            settings(CertificationSettings, config),
            Provenance(
                encoder_id, given(plain, "checkpoint", "encoder", "purifier", "data"), f"{program} {shlex.join(args)}"
            ),
        )
        if summary is None:  # in all processes but the first
            return
        if identifies:
            show(config.output_dir, summary["rules"], read_run(config.output_dir))
        else:
            show_trials(config.output_dir, summary["verifiers"], read_trials_of_run(config.output_dir))


def certify_parser(program: str | None = None) -> ArgumentParser:
    """The options of `certify.py`."""
    parser = encoder_parser("certify", program)
    add_purifier(parser)
    parser.add_class_arguments(CertificationSettings, None)
    parser.add_class_arguments(SpeakerDataModule, "data", sub_configs=True)
    return parser
