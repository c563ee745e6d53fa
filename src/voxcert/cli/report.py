"""`voxcert report`."""

from pathlib import Path

from voxcert.cli.errors import messages_for_errors
from voxcert.cli.parser import command_parser

PAGE = "report.html"


def report(args: list[str]) -> None:
    """Shows runs, from their rows alone: a page that opens from a file, tables, plots; certificates beside attacks."""
    parser = command_parser("report")
    parser.add_argument(
        "runs", type=str, nargs="+", help="Output folders of `certify`, `voxcert attack` and `voxcert defend`."
    )
    parser.add_argument(
        "--radii",
        type=list[float] | None,
        help="Radii of the printed tables of runs that name speakers; those of each run when null. Error rates of "
        "verification are known at the radii of their run alone.",
    )
    parser.add_argument(
        "--output", type=str | None, help=f"The page about them; {PAGE} in the folder of the first run when null."
    )
    parser.add_argument("--title", type=str | None, help="Of the page; the certified systems when null.")
    parser.add_argument(
        "--sounds",
        type=bool,
        default=True,
        help="Recordings in the page, to be played; false for a page that goes where voices may not.",
    )
    parser.add_argument("--pdf", type=bool, default=False, help="Print the page to a PDF beside it; needs Chromium.")
    parser.add_argument(
        "--wandb",
        type=str | None,
        help="Send page and plots to this project of Weights & Biases; WANDB_MODE=offline keeps them here.",
    )
    config = parser.parse_args(args)
    with messages_for_errors():
        output = Path(config.output or Path(config.runs[0]) / PAGE)
        if config.pdf and output.suffix.lower() == ".pdf":
            raise ValueError(f"output must be the page, such as {PAGE}, beside which the PDF goes, got {output}")
        from voxcert.cli.tables import show_page, show_runs  # here: --help and mistakes answer without torch

        pictures = show_runs(config.runs, config.radii)
        show_page(config.runs, output, config.title, config.sounds, config.pdf, config.wandb, pictures)
