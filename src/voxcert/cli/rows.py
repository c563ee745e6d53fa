"""`voxcert rows`."""

import sys
from pathlib import Path

from voxcert.cli.errors import messages_for_errors
from voxcert.cli.parser import command_parser


def rows(args: list[str]) -> None:
    """Writes the rows of a run to a Parquet file, for tools that read tables."""
    parser = command_parser("rows")
    parser.add_argument(
        "run", type=str, help="Output folder of `certify`, `voxcert attack` or `voxcert defend`, finished or not."
    )
    parser.add_argument("file", type=str, help="The Parquet file to write, such as rows.parquet.")
    config = parser.parse_args(args)
    with messages_for_errors():
        from voxcert.cli.tables import kind_of_rows  # here: --help and mistakes answer without torch
        from voxcert.evaluation.run.folder import ROWS
        from voxcert.evaluation.run.parquet import write_parquet
        from voxcert.evaluation.run.tasks import unmerged
        from voxcert.rows import iterate_rows

        kind, path = kind_of_rows(config.run), Path(config.run) / ROWS
        if not path.is_file():
            raise ValueError(f"run must be a folder with rows, got {config.run} without {ROWS}")
        if Path(config.file).suffix.lower() != ".parquet":
            raise ValueError(f"file must end in .parquet, such as rows.parquet, got {config.file}")
        if said := unmerged(config.run):
            print(said, file=sys.stderr)
        number = write_parquet(iterate_rows(path, kind), kind, config.file)
        print(f"{config.file}: {number} rows")
