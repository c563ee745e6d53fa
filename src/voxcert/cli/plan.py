"""`voxcert plan`."""

import shlex
from functools import partial
from typing import Any

from voxcert.cli.errors import messages_for_errors
from voxcert.cli.options import add_purifier, encoder_parser, given, instantiate, named_encoder, parse, settings
from voxcert.data.datamodule import SpeakerDataModule
from voxcert.evaluation.defence.encoder import denoising, open_purifier
from voxcert.evaluation.planning import PlanSettings, plan_certification
from voxcert.evaluation.planning.tables import plan_note, plan_statement, plan_table
from voxcert.evaluation.run.job import Provenance


def plan(args: list[str]) -> None:
    """Plans a certification: a pilot says how sigma, samples, radius and minutes trade for an encoder, here."""
    parser = encoder_parser("plan")
    add_purifier(parser)
    parser.add_class_arguments(PlanSettings, None)
    parser.add_class_arguments(SpeakerDataModule, "data", sub_configs=True)
    config, plain = parse(parser, args)
    with messages_for_errors():
        parts = instantiate(parser, config)
        purifier = None if parts.purifier is None else open_purifier(parts.purifier)
        encoder, encoder_id = named_encoder(config, parts.encoder, purifier)
        origin = given(plain, "checkpoint", "encoder", "purifier", "data")
        found = plan_certification(
            encoder,
            parts.data,
            settings(PlanSettings, config),
            Provenance(encoder_id, origin, f"voxcert plan {shlex.join(args)}"),
            before=None if purifier is None else partial(denoising, purifier),
        )
        show_plan(found)


def show_plan(found: dict[str, Any]) -> None:
    """Prints the table of a plan and what it recommends."""
    print(f"\n{plan_table(found)}\n\n{plan_note(found)}\n\n{plan_statement(found)}")
