"""`import voxcert` and `--help` start nothing that they do not need, and offer what is there."""

import inspect
import subprocess
import sys
from importlib import import_module

import pytest

import voxcert
from voxcert.cli import COMMANDS, main
from voxcert.cli.checkpoints import export_parser
from voxcert.training.export import export

HEAVY = ["torch", "matplotlib", "wandb", "lightning", "numpy"]
LIGHT_COMMANDS = ["card", "data", "encoders", "export", "recertify", "report", "rows"]
CALL = "from voxcert.cli import main; main(sys.argv[1:])"


def started(program, *args):
    """Which heavy libraries a program has imported when it ends, and what it printed before."""
    watch = f"import atexit, sys; atexit.register(lambda: print('started', *(n for n in {HEAVY} if n in sys.modules)))"
    command = [sys.executable, "-c", f"{watch}\n{program}", *args]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    before, _, after = printed.rpartition("started")
    return after.split(), before


def test_import_starts_nothing():
    assert started("import voxcert; voxcert.__version__; dir(voxcert)")[0] == []
    assert "torch" in started("import voxcert; voxcert.load_encoder")[0]  # the watch sees what is there


def test_help_starts_nothing():
    libraries, printed = started(CALL, "--help")
    assert libraries == []
    for name, command in COMMANDS.items():
        assert f"  {name:11}{command.purpose}\n" in printed


def test_names_stand_apart_from_purposes(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    assert "  recertify  Certifies a finished run" in capsys.readouterr().out


def test_the_version_is_told(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--version"])
    assert capsys.readouterr().out == f"voxcert {voxcert.__version__}\n"


@pytest.mark.parametrize("name", LIGHT_COMMANDS)
def test_help_of_a_command_that_builds_no_network_starts_nothing(name):
    libraries, printed = started(CALL, name, "--help")
    assert libraries == []
    assert COMMANDS[name].purpose in " ".join(printed.split())


@pytest.mark.parametrize("name", COMMANDS)
def test_purposes_are_those_of_the_functions(name):
    function = getattr(import_module(f"voxcert.cli.{COMMANDS[name].module}"), name)
    first_line, *_ = inspect.getdoc(function).splitlines()
    assert COMMANDS[name].purpose == first_line


def test_a_command_that_is_not_there(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["certifie"])
    assert "certify" in capsys.readouterr().err


def test_export_has_the_options_of_its_function():
    options = export_parser().get_defaults().as_dict()
    wanted = {
        name: None if parameter.default is inspect.Parameter.empty else parameter.default
        for name, parameter in inspect.signature(export).parameters.items()
    }
    assert options == wanted


def test_every_public_name_is_there():
    for name in voxcert.__all__:
        assert getattr(voxcert, name) is not None
    assert set(voxcert.__all__) <= set(dir(voxcert))
    assert voxcert.Certifier is import_module("voxcert.smoothing").Certifier
    assert voxcert.attacks is import_module("voxcert.attacks")
    with pytest.raises(AttributeError, match="certifie"):
        voxcert.certifie  # noqa: B018
