"""A folder is one job's alone, and is free again however that job ends."""

import os
import signal
import subprocess
import sys

import pytest
from lightning.fabric.utilities.rank_zero import rank_zero_only

from voxcert.evaluation.run.lock import locked

HOLD = """
import sys
from voxcert.evaluation.run.lock import locked
with locked(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def other(tmp_path):
    """Another process that holds the folder until it is told to stop."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_a_second_job_is_told_who_is_there(other, tmp_path):
    with (
        pytest.raises(
            ValueError, match=rf"output_dir must not be in use, got .* where process {other.pid} on .* writes"
        ),
        locked(tmp_path),
    ):
        pass


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_a_job_that_was_killed_holds_nothing(other, tmp_path, end):
    os.kill(other.pid, end)
    other.wait()
    with locked(tmp_path):
        pass


def test_a_job_that_failed_holds_nothing(tmp_path):
    with pytest.raises(RuntimeError, match="no"), locked(tmp_path):
        raise RuntimeError("no")
    with locked(tmp_path):
        assert f"process {os.getpid()} on " in (tmp_path / ".running").read_text()
    assert not (tmp_path / ".running").exists()


@pytest.mark.parametrize("environment", [{"NODE_RANK": "1"}, {"GROUP_RANK": "2"}])
def test_processes_of_one_job_share_a_folder(other, tmp_path, monkeypatch, environment):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with locked(tmp_path):
        pass
    monkeypatch.undo()
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    with locked(tmp_path):
        pass


@pytest.mark.parametrize(
    ("name", "reason"), [("x" * 300, "File name too long"), ("y/" * 3000, "too long"), ("a\0b", "null byte")]
)
def test_a_folder_that_cannot_be_is_named(tmp_path, name, reason):
    with (
        pytest.raises(ValueError, match=f"output_dir must be a folder that can be made, got .*{reason}") as error,
        locked(tmp_path / name),
    ):
        pass
    assert len(str(error.value)) < 400


def test_a_folder_in_the_place_of_a_file_is_named(tmp_path):
    (tmp_path / "file").touch()
    with (
        pytest.raises(
            ValueError, match="output_dir must be a folder that can be made, got .*file/run: Not a directory"
        ),
        locked(tmp_path / "file" / "run"),
    ):
        pass
    with (
        pytest.raises(ValueError, match="output_dir must be a folder that can be made, got .*file: File exists"),
        locked(tmp_path / "file"),
    ):
        pass
