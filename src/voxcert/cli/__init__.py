"""Entry points: `train.py`, `certify.py` and the `voxcert` command, one module for each command.

`train` is a LightningCLI (fit, validate, test); every other command is a function whose signature makes its options.
A command's module is imported when the command is called, so that `voxcert --help` waits for nothing.
"""

import argparse
import sys
from importlib import import_module
from typing import NamedTuple

from voxcert import __version__


class Command(NamedTuple):
    """A command that has not been imported.

    Attributes:
        module: The module of this package that has its function.
        purpose: The first line of its function's docstring.
    """

    module: str
    purpose: str


COMMANDS = {
    "audit": Command(
        "audit", "Audits an encoder: checks data, plans, attacks, certifies, listens, and writes one page about it all."
    ),
    "train": Command("train", "Runs `train.py`: `fit`, `validate` or `test` with configs and flags."),
    "certify": Command(
        "certify",
        "Certifies an encoder: enrols speakers, proves what no attack can change, writes rows, table and plot.",
    ),
    "plan": Command(
        "plan", "Plans a certification: a pilot says how sigma, samples, radius and minutes trade for an encoder, here."
    ),
    "attack": Command(
        "attack",
        "Attacks an encoder: enrols speakers, runs any attack on every test utterance, writes rows, table and plot.",
    ),
    "purify": Command(
        "purify", "Purifies audio files: the same names in another folder, ready to be played or recognised."
    ),
    "defend": Command(
        "defend",
        "Compares purifiers as defences: error rates, genuine, attacked and adaptively attacked, and speech quality.",
    ),
    "invert": Command(
        "invert",
        "Inverts an identification network: reconstructs each training speaker, writes rows, audio, table and plots.",
    ),
    "data": Command(
        "data", "Checks data: `voxcert data check FOLDER_OR_MANIFEST` says what a run would see of it, and refuse."
    ),
    "encoders": Command(
        "checkpoints",
        "Lists every encoder: parameters, embedding size, front-end, published weights with their licence and source.",
    ),
    "export": Command(
        "checkpoints",
        "Turns a Lightning checkpoint into a checkpoint folder: safetensors, config, cards; or an encoder into ONNX.",
    ),
    "card": Command(
        "checkpoints",
        "Adds what certification runs measured to a checkpoint's card and renders its README.md again.",
    ),
    "recertify": Command(
        "recertify",
        "Certifies a finished run again from what it kept: at another alpha, or from shards, without an encoder.",
    ),
    "hearing": Command(
        "hearing",
        "Says what a run's radii sound like: how far below the threshold of hearing all perturbations are covered.",
    ),
    "identify": Command(
        "recognize", "Names the speakers of recordings, as the system that a certification run was about; JSON lines."
    ),
    "verify": Command(
        "recognize", "Accepts or rejects the claim that recordings are a speaker's, likewise; JSON lines."
    ),
    "serve": Command(
        "serve",
        "Serves the system that a certification run was about: POST recordings to /identify, /verify and /enroll.",
    ),
    "try": Command(
        "serve",
        "Opens a page to try the system that a certification run was about: microphone, answers, their promise.",
    ),
    "rows": Command("rows", "Writes the rows of a run to a Parquet file, for tools that read tables."),
    "report": Command(
        "report",
        "Shows runs, from their rows alone: a page that opens from a file, tables, plots; certificates beside attacks.",
    ),
}


def main(args: list[str] | None = None) -> None:
    """Runs the `voxcert` command.

    Args:
        args: Arguments instead of those of the command line.
    """
    args = sys.argv[1:] if args is None else args
    width = max(map(len, COMMANDS)) + 2
    purposes = "\n".join(f"  {name:{width}}{command.purpose}" for name, command in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="voxcert",
        usage="voxcert COMMAND ... (voxcert COMMAND --help for its options)",
        description=f"Speaker recognition with proved robustness.\n\n{purposes}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"voxcert {__version__}")
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND", help="one of the above")
    name = parser.parse_args(args[:1]).command
    getattr(import_module(f"{__name__}.{COMMANDS[name].module}"), name)(args[1:])
