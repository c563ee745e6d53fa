"""`voxcert audit`."""

import shlex
from pathlib import Path

from jsonargparse import ArgumentParser

from voxcert.cli.errors import messages_for_errors
from voxcert.cli.options import encoder_parser, given, instantiate, named_encoder, parse, settings
from voxcert.cli.plan import show_plan
from voxcert.data.datamodule import SpeakerDataModule
from voxcert.evaluation.audit import AuditSettings, audit_encoder
from voxcert.evaluation.audit.job import PAGE, encoder_statement
from voxcert.evaluation.run.job import Provenance

TEACHES = """
It answers, in this order: are the data what they should be; which sigma and how many samples fit into the time; who is
named rightly, and after published attacks; what is proved, of naming speakers and of verifying them; does an attack
inside the proved radii fail, and what does one reach outside; how far below the threshold of hearing is all covered.
Every stage has a folder of its own, and report.html tells of them all. Stop it at any moment: the same command goes on.
Such as: voxcert audit --checkpoint mine --data configs/data/folders.yaml --data.corpus.root my_speakers --minutes 60
--output_dir runs/audit
"""


def audit(args: list[str]) -> None:
    """Audits an encoder: checks data, plans, attacks, certifies, listens, and writes one page about it all."""
    parser = audit_parser()
    config, plain = parse(parser, args)
    with messages_for_errors():
        parts = instantiate(parser, config)
        encoder, encoder_id = named_encoder(config, parts.encoder)
        plan = audit_encoder(
            encoder,
            parts.data,
            settings(AuditSettings, config),
            Provenance(encoder_id, given(plain, "checkpoint", "encoder", "data"), f"voxcert audit {shlex.join(args)}"),
        )
        show_plan(plan)
        print(f"\n{encoder_statement(config.output_dir)}\n\n{Path(config.output_dir) / PAGE}")


def audit_parser() -> ArgumentParser:
    """The options of `voxcert audit`."""
    parser = encoder_parser("audit")
    parser.description += f"\n{TEACHES}"
    parser.add_class_arguments(AuditSettings, None)
    parser.add_class_arguments(SpeakerDataModule, "data", sub_configs=True)
    return parser
