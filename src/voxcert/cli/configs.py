"""Configs by name: `--config certify/librispeech.yaml` is a file here, or else the one that comes with the package.

A wheel holds configs/ of the repository as `voxcert/configs`; an editable install takes the repository's own.
"""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[1]
SUFFIXES = (".yaml", ".yml")


def config_folder() -> Path:
    """The configs that come with the package: inside it, or at the root of the repository that it is installed from."""
    inside = PACKAGE / "configs"
    return inside if inside.is_dir() else PACKAGE.parents[1] / "configs"


def find_config(name: str, option: str = "name") -> Path:
    """The file of this name: one here wins over one that comes with the package.

    Args:
        name: Path of a YAML file, such as experiments/mine.yaml, or a name such as certify/librispeech.yaml, which
            may be written as in the repository too, configs/certify/librispeech.yaml.
        option: What an error calls the argument.

    Raises:
        ValueError: If there is neither; the message says where was looked.
    """
    from voxcert.data.paths import is_file, shown  # here: --help answers without torch

    places = [Path(name).expanduser(), config_folder() / name.removeprefix("configs/")]
    for place in places:
        if is_file(place):
            return place
    looked = " and no ".join(dict.fromkeys(shown(place.absolute()) for place in places))
    raise ValueError(
        f"{option} must be a YAML file or a config that comes with voxcert, got {shown(name)}: no {looked}"
    )


def with_files(args: Iterable[str]) -> Iterator[str]:
    """Replaces the names of configs among arguments by files, and says on stderr which file an option reads.

    Args:
        args: Arguments of a command line; `--option name.yaml` and `--option=name.yaml` hold the names.

    Raises:
        ValueError: If there is no such file (the message begins with the option), or it is not UTF-8.
    """
    from voxcert.data.files import read_text  # here: --help answers without torch

    option = ""  # that waits for its value
    for arg in args:
        flag, equals, value = arg.partition("=") if arg.startswith("--") else (option, "", arg)
        option = "" if equals or not arg.startswith("--") else arg
        if flag and value.endswith(SUFFIXES):
            path = find_config(value, flag)
            read_text(path)  # the parser would not say which file it cannot read
            print(f"{flag} reads {path}", file=sys.stderr)
            arg = f"{flag}={path}" if equals else str(path)
        yield arg
