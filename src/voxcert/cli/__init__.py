"""Entry points: `train.py`, `certify.py` and the `voxcert` command, one module for each command.

`train` is a LightningCLI (fit, validate, test); every other command is a function whose signature makes its options.
"""

import argparse
import sys
import warnings
from collections.abc import Callable
from importlib import import_module
from typing import Any

from voxcert.cli.options import first_line

MODULES = {
    "train": "train",
    "certify": "certify",
    "attack": "attack",
    "purify": "purify",
    "defend": "defend",
    "invert": "invert",
    "encoders": "checkpoints",
    "export": "checkpoints",
    "card": "checkpoints",
    "report": "report",
}
"""Command -> the module that has its function."""


def main(args: list[str] | None = None) -> None:
    """Runs the `voxcert` command.

    Args:
        args: Arguments instead of those of the command line.
    """
    args = sys.argv[1:] if args is None else args
    asked = args[:1] not in [[name] for name in MODULES]  # what the commands are for, or a mistake
    purposes = [f"  {name:9}{first_line(_command(name))}" for name in MODULES] if asked else []
    parser = argparse.ArgumentParser(
        prog="voxcert",
        usage="voxcert COMMAND ... (voxcert COMMAND --help for its options)",
        description="Speaker recognition with proved robustness.\n\n" + "\n".join(purposes),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=MODULES, metavar="COMMAND", help="one of the above")
    command = parser.parse_args(args[:1]).command
    # LightningCLI suspects a mistake where it is handed arguments while sys.argv has some too.
    warnings.filterwarnings("ignore", message="LightningCLI's args parameter is intended to run")
    _command(command)(args[1:])


def _command(name: str) -> Callable[..., Any]:
    return getattr(import_module(f"voxcert.cli.{MODULES[name]}"), name)
