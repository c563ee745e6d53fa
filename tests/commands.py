"""What a user sees of a command that is mistyped."""

import pytest

from voxcert.cli import main


def message(capsys, *args):
    """The error that `voxcert` prints; the exit status must be 2."""
    with pytest.raises(SystemExit) as stop:
        main(list(map(str, args)))
    assert stop.value.code == 2
    printed = capsys.readouterr().err
    assert "Traceback" not in printed
    return printed
