"""`voxcert invert`."""

import shlex
from pathlib import Path

from jsonargparse import ArgumentParser

from voxcert.cli.errors import messages_for_errors
from voxcert.cli.options import encoder_parser, given, instantiate, named_encoder, parse, settings
from voxcert.data.corpus import Corpus
from voxcert.data.datamodule import SpeakerDataModule
from voxcert.encoders.checkpoint import CARD, read_card
from voxcert.evaluation.inversion.job import TABLE, invert_speakers
from voxcert.evaluation.inversion.recordings import check_classes
from voxcert.evaluation.inversion.settings import InversionSettings
from voxcert.evaluation.run.job import Provenance


def invert(args: list[str]) -> None:
    """Inverts an identification network: reconstructs each training speaker, writes rows, audio, table and plots."""
    parser = invert_parser()
    config, plain = parse(parser, args)
    with messages_for_errors():
        parts = instantiate(parser, config)
        encoder, encoder_id = named_encoder(config, parts.encoder)
        if config.checkpoint is not None and Path(config.checkpoint, CARD).is_file():
            check_classes(parts.data, read_card(config.checkpoint))
        invert_speakers(
            encoder,
            parts.data,
            parts.speech,
            settings(InversionSettings, parts),
            Provenance(
                encoder_id,
                given(plain, "checkpoint", "encoder", "data", "speech"),
                f"voxcert invert {shlex.join(args)}",
            ),
        )
        print(f"\n{(Path(config.output_dir) / TABLE).read_text()}\n{config.output_dir}")


def invert_parser() -> ArgumentParser:
    """The options of `voxcert invert`."""
    parser = encoder_parser("invert")
    parser.add_class_arguments(InversionSettings, None)
    parser.add_class_arguments(SpeakerDataModule, "data", sub_configs=True)
    parser.add_subclass_arguments(
        Corpus, "speech", required=False, help="Whose speech starts are made of; who the network names is left out."
    )
    return parser
