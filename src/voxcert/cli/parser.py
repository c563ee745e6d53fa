"""A parser that knows what options and classes were called before, and how a list is written, and says so."""

import re
from typing import Any, NoReturn

from jsonargparse import ArgumentParser, Namespace

from voxcert.cli import COMMANDS

RENAMED_OPTIONS = {"iterations": "steps", "lr": "step_size", "samples": "start_samples"}
"""Of `voxcert invert`."""
RENAMED_CLASSES = {
    "voxcert.attacks.generator_network.": "voxcert.attacks.",
    "voxcert.attacks.inversion_starts.": "voxcert.attacks.inversion.",
    "voxcert.purifiers.conditioning.": "voxcert.purifiers.",
}


class Renamed:
    """A parser's error, with the new name of what it is about, or how it is written."""

    def parse_args(self, *args: Any, **settings: Any) -> Namespace:
        """Parses arguments; a config in another encoding, named in a config, is an error like any other."""
        try:
            return super().parse_args(*args, **settings)
        except UnicodeDecodeError as error:
            line = error.object.count(b"\n", 0, error.start)
            shown = error.object.split(b"\n")[line].decode(errors="backslashreplace")
            self.error(f"a config must be UTF-8, got one whose line {line + 1} is {shown}; convert it with iconv")

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Prints usage and message and exits with status 2."""
        super().error("\n".join([message, *new_names(message), *written_lists(message)]), ex)


class Parser(Renamed, ArgumentParser):
    """The parser of every command but `train`."""


def command_parser(command: str, program: str | None = None) -> Parser:
    """A parser with the name and purpose of a command, and no options yet.

    Args:
        command: One of `COMMANDS`.
        program: How it was called; `voxcert COMMAND` when None.
    """
    return Parser(prog=program or f"voxcert {command}", description=COMMANDS[command].purpose)


def new_names(message: str) -> list[str]:
    """A sentence for every old name in the message of a parser."""
    refused = re.findall(r"Option '([^']*)' is not accepted|unrecognized arguments: --([a-z_.]+)", message)
    last_words = [(option or flag).rpartition(".")[2] for option, flag in refused]
    options = [f"{old} is called {RENAMED_OPTIONS[old]} now" for old in last_words if old in RENAMED_OPTIONS]
    classes = [f"{old}NAME is called {new}NAME now" for old, new in RENAMED_CLASSES.items() if old in message]
    return options + classes


def written_lists(message: str) -> list[str]:
    """How a list is written, where the message of a parser is about a single value in place of one."""
    option = re.search(r'Parser key "([\w.]+)"', message)
    value = re.search(r"(?:Got|Given) value: ([^\s\[\]{}]+)$", message, re.MULTILINE)
    if option is None or value is None or "Expected a <class 'list'>" not in message:
        return []
    flag = f"--{option[1]}"
    return [
        f'  A list is written in brackets, with commas and no blanks: {flag} [{value[1]}], or {flag} "[A,B]" for two'
    ]


def check_output_dir(folder: str) -> None:
    """Refuses an empty name, which would be the working directory."""
    if not folder.strip():
        raise ValueError(f"output_dir must name a folder (. is the working directory), got {folder!r}")
