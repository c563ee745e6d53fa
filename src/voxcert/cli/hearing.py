"""`voxcert hearing`."""

from pathlib import Path

from voxcert.cli.errors import messages_for_errors
from voxcert.cli.parser import command_parser
from voxcert.data.datamodule import SpeakerDataModule
from voxcert.evaluation.hearing.job import HEARING, measure_hearing
from voxcert.evaluation.hearing.tables import HEARING_NOTE, hearing_statement, hearing_table, summarize_hearing
from voxcert.evaluation.run.folder import read_config


def hearing(args: list[str]) -> None:
    """Says what a run's radii sound like: how far below the threshold of hearing all perturbations are covered."""
    parser = command_parser("hearing")
    parser.add_argument("run", type=str, help="Output folder of `certify`, with noise at the waveform.")
    parser.add_class_arguments(
        SpeakerDataModule, "data", sub_configs=True, help="The run's data, where they have moved: --data.corpus.root"
    )
    if not any(Path(arg).is_dir() or arg == "-h" or arg.endswith("help") for arg in args):
        parser.error(f"run must be the output folder of `certify`, got no folder in: {' '.join(args)}")
    with messages_for_errors():
        known = {"data": config["data"]} if (config := _config_of(args)) and "data" in config else {}
    parser.set_defaults(known)
    config = parser.parse_args(args)
    with messages_for_errors():
        rules = summarize_hearing(measure_hearing(config.run, parser.instantiate(config).data))
        table = f"{hearing_table(rules)}\n\n{HEARING_NOTE}\n\n{hearing_statement(rules)}"
        print(f"\n{config.run}\n\n{table}\n\n{Path(config.run) / HEARING}")


def _config_of(args: list[str]) -> dict | None:
    """The settings of the run that is named among the arguments."""
    return next((found for arg in args if Path(arg).is_dir() and (found := read_config(arg))), None)
