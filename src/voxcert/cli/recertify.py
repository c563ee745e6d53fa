"""`voxcert recertify`."""

import shlex

from voxcert.cli.errors import messages_for_errors
from voxcert.cli.parser import check_output_dir, command_parser


def recertify(args: list[str]) -> None:
    """Certifies a finished run again from what it kept: at another alpha, or from shards, without an encoder."""
    parser = command_parser("recertify")
    parser.add_argument(
        "runs",
        type=str,
        nargs="+",
        help="Output folder of `certify --keep_statistics true`, or those of all shards of one run.",
    )
    parser.add_argument("--alpha", type=float | None, help="Error probability of one certificate; the run's when null.")
    parser.add_argument("--output_dir", type=str, required=True, help="A new folder for the certificates.")
    config = parser.parse_args(args)
    with messages_for_errors():
        check_output_dir(config.output_dir)
        from voxcert.cli.tables import show  # here: --help and mistakes answer without torch
        from voxcert.evaluation.certification.folder import read_run
        from voxcert.evaluation.certification.recertify import recertify_runs

        command = f"voxcert recertify {shlex.join(args)}"
        summary = recertify_runs(config.runs, config.output_dir, config.alpha, command)
        show(config.output_dir, summary["rules"], read_run(config.output_dir))
