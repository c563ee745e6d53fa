"""The Dockerfile copies what is there, installs what is pinned, and starts what the command line knows.

Read without a builder: no step is run here.
"""

import json
import re
import shlex
import tomllib
from pathlib import Path

import pytest

from voxcert.cli import main

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def instructions():
    """Pairs of an instruction and its arguments, lines joined."""
    text = re.sub(r"\\\n", " ", (ROOT / "Dockerfile").read_text())
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [tuple(line.split(maxsplit=1)) for line in lines]


def arguments(name):
    return [rest for instruction, rest in instructions() if instruction == name]


def test_what_is_copied_is_there_and_reaches_the_builder():
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    sources = [source for rest in arguments("COPY") for source in shlex.split(rest)[:-1]]
    assert sources
    for source in sources:
        assert (ROOT / source).exists(), source
        assert f"!{source}" in ignored, f"{source} is ignored"


def test_all_that_the_package_is_built_from_is_copied():
    copied = {source for rest in arguments("COPY") for source in shlex.split(rest)[:-1]}
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = {path.split("/")[0] for path in wheel["only-include"]} | {PROJECT["readme"], *PROJECT["license-files"]}
    assert needed | {"pyproject.toml"} <= copied


def test_the_extras_exist_and_are_pinned():
    (install,) = [rest for rest in arguments("RUN") if "pip install" in rest]
    assert "--constraint requirements.lock" in install
    (extras,) = re.findall(r'"\.\[([\w,]+)\]"', install)
    pinned = {re.split(r"==", line)[0] for line in (ROOT / "requirements.lock").read_text().splitlines()}
    for extra in extras.split(","):
        names = {re.split(r"[^\w.-]", one)[0].lower() for one in PROJECT["optional-dependencies"][extra]}
        assert names <= pinned


def test_python_and_base_are_what_the_project_needs():
    (base,) = arguments("FROM")
    assert re.fullmatch(r"python:3\.\d+-slim", base), "a plain name, which says nothing of where it comes from"
    assert f">={base[7:11]}" == PROJECT["requires-python"]


def test_what_is_started_is_known(capsys):
    (entry,), (options,) = (list(map(json.loads, arguments(name))) for name in ("ENTRYPOINT", "CMD"))
    command, *name = entry
    assert command in PROJECT["scripts"]
    with pytest.raises(SystemExit, match="0"):
        main([*name, "--help"])
    known = capsys.readouterr().out
    assert all(option in known for option in options if option.startswith("--"))
    assert "--host" in options
