"""`voxcert purify`."""

from voxcert.cli.errors import messages_for_errors
from voxcert.cli.options import (
    add_config,
    add_purifier,
    add_words,
    check_words,
    given,
    instantiate,
    open_listener,
    parse,
    settings,
)
from voxcert.cli.parser import command_parser
from voxcert.data.paths import shown
from voxcert.evaluation.defence.encoder import open_purifier
from voxcert.evaluation.purification import PurifySettings, purify_files
from voxcert.evaluation.run.job import Provenance


def purify(args: list[str]) -> None:
    """Purifies audio files: the same names in another folder, ready to be played or recognised."""
    parser = command_parser("purify")
    add_config(parser)
    parser.add_class_arguments(PurifySettings, None)
    add_purifier(parser, required=True)
    add_words(parser)
    config, plain = parse(parser, args)
    with messages_for_errors():
        check_words(config)
        parts = instantiate(parser, config)
        rows = purify_files(
            open_purifier(parts.purifier),
            settings(PurifySettings, config),
            Provenance(origin=given(plain, "purifier", "text_embedder", "transcriber")),
            listener=open_listener(parts, config.output_dir),
        )
        failed = [row for row in rows if row.failed is not None]
        print(f"{len(rows) - len(failed)} files are purified in {config.output_dir}, {len(failed)} failed.")
        for row in failed:
            print(f"  {row.failed}" if shown(row.file) in row.failed else f"  {shown(row.file)}: {row.failed}")
        if len(failed) == len(rows):
            raise SystemExit(1)  # so that a script stops here
