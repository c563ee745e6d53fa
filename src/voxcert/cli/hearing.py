"""`voxcert hearing`."""

import sys
from pathlib import Path
from typing import Any

from voxcert.cli.errors import messages_for_errors
from voxcert.cli.parser import command_parser
from voxcert.data.datamodule import SpeakerDataModule
from voxcert.data.paths import is_folder
from voxcert.evaluation.certification.folder import planned_utterances, read_run
from voxcert.evaluation.certification.tables import unfinished
from voxcert.evaluation.hearing.job import HEARING, measure_hearing
from voxcert.evaluation.hearing.tables import HEARING_NOTE, hearing_statement, hearing_table, summarize_hearing
from voxcert.evaluation.run.folder import CONFIG, read_config
from voxcert.evaluation.run.tasks import unmerged


def hearing(args: list[str]) -> None:
    """Says what a run's radii sound like: how far below the threshold of hearing all perturbations are covered."""
    parser = command_parser("hearing")
    parser.add_argument("run", type=str, help="Output folder of `certify`, with noise at the waveform.")
    parser.add_class_arguments(
        SpeakerDataModule, "data", sub_configs=True, help="The run's data, where they have moved: --data.corpus.root"
    )
    if not any(arg == "-h" or arg.endswith("help") for arg in args):
        with messages_for_errors():
            parser.set_defaults(_data_of(args))
    config = parser.parse_args(args)
    with messages_for_errors():
        if said := unmerged(config.run):
            print(f"{config.run}: {said}", file=sys.stderr)
        rules = summarize_hearing(measure_hearing(config.run, parser.instantiate(config).data))
        table = f"{hearing_table(rules)}\n\n{HEARING_NOTE}\n\n{hearing_statement(rules)}"
        done = unfinished(read_run(config.run), planned_utterances(config.run))
        about = config.run if done is None else f"{config.run}: not finished, {done}"
        print(f"\n{about}\n\n{table}\n\n{Path(config.run) / HEARING}")


def _data_of(args: list[str]) -> dict[str, Any]:
    """The data of the run that is named among the arguments, as a setting; ValueError if none is."""
    folders = [arg for arg in args if is_folder(arg)]
    for folder in folders:
        if (config := read_config(folder)) is not None:
            return {"data": config["data"]} if "data" in config else {}
    got = f"{', '.join(folders)} without {CONFIG}" if folders else f"no folder in: {' '.join(args)}"
    raise ValueError(f"run must be the output folder of `certify`, got {got}")
