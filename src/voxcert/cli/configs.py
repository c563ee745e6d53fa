"""Configs by name: `--config certify/librispeech.yaml` is a file here, or else the one that comes with the package.

A wheel holds configs/ of the repository as `voxcert/configs`; an editable install takes the repository's own.
"""

import sys
from collections.abc import Iterable
from pathlib import Path

PACKAGE = Path(__file__).parents[1]
SUFFIXES = (".yaml", ".yml")
CONFIG = ("--config", "-c")
"""Options whose files may hold any other option; the short one is Lightning's."""


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


def with_files(args: Iterable[str]) -> list[str]:
    """Replaces the names of configs among arguments by files, and says on stderr which file an option reads.

    A parser lays one argument over the other as they come, so a file goes before the flags that are about what it
    holds: flags win wherever they stand, a file of `--data` wins over one of `--config`, and of two files for one
    option the later one.

    Args:
        args: Arguments of a command line; `--option name.yaml` and `--option=name.yaml` hold the names.

    Raises:
        ValueError: If there is no such file (the message begins with the option), or it is not UTF-8.
    """
    groups: list[list[str]] = [[]]  # each option with its values, after what stands before all options
    for arg in args:
        if _is_flag(arg):
            groups.append([])
        groups[-1].append(arg)
    placed: list[list[str]] = []
    for group in groups:
        named = _with_file(group)
        inside = (place for place, other in enumerate(placed) if named and _lies_in(_flag(other), _flag(named)))
        placed.insert(next(inside, len(placed)), named or group)
    return [arg for group in placed for arg in group]


def _with_file(group: list[str]) -> list[str] | None:
    """An option whose value is the name of a config, with the file; None for any other."""
    from voxcert.data.files import read_text  # here: --help answers without torch

    flag, equals, value = group[0].partition("=") if group else ("", "", "")
    rest = group[1:]
    if not equals and rest:
        value, *rest = rest
    if not _is_flag(flag) or not value.endswith(SUFFIXES):
        return None
    path = find_config(value, flag)
    read_text(path)  # the parser would not say which file it cannot read
    print(f"{flag} reads {path}", file=sys.stderr)
    return [*([f"{flag}={path}"] if equals else [flag, str(path)]), *rest]


def _is_flag(arg: str) -> bool:
    return arg.startswith("--") or arg in CONFIG


def _flag(group: list[str]) -> str:
    return group[0].partition("=")[0] if group else ""


def _lies_in(flag: str, other: str) -> bool:
    """Whether a flag is about a part of what the file of another one holds."""
    if other in CONFIG:
        return _is_flag(flag) and flag not in (*CONFIG, "--print_config")  # which may stand before a sub-command
    return flag.startswith(f"{other}.")
