"""Real processes that are killed: whatever the number of processes and the moment, the rows are those of a calm run."""

import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from voxcert.evaluation.certification.folder import read_run
from voxcert.evaluation.run.folder import ROWS

ROOT = Path(__file__).parents[3]
PROGRAM = """
import sys, time
from conftest import LinearEncoder, ToyData
from voxcert.evaluation.certification import CertificationSettings, certify_speakers
folder, devices, pause = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
encoder, data = LinearEncoder(200).eval(), ToyData(num_per_speaker=15)
data.tests[-1]["utterance"] = "bad"
encoder.register_forward_pre_hook(lambda *_: time.sleep(pause))
options = {"num_select": 10, "num_estimate": 40, "batch_size": 16, "keep_statistics": True}
options |= {"sigma": 0.05, "accelerator": "cpu", "devices": devices}
certify_speakers(encoder, data, CertificationSettings(folder, **options))
"""
ALL = 61 * 4


@pytest.fixture
def start(tmp_path):
    """A function that starts the program in a folder; whatever is left of it is killed in the end."""
    (tmp_path / "program.py").write_text(PROGRAM)
    paths = os.pathsep.join((str(ROOT / "src"), str(ROOT / "tests" / "evaluation")))
    environment = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    started = []

    def run(folder, devices, pause=0.005):
        command = [sys.executable, str(tmp_path / "program.py"), str(tmp_path / folder), str(devices), str(pause)]
        pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
        started.append(subprocess.Popen(command, env=environment, start_new_session=True, **pipes))
        return started[-1]

    yield run
    for process in started:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()
        process.stderr.close()


def finish(process):
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors


def wait_for_rows(process, folder, number):
    """Waits until so many rows are written; returns whether the program was still running."""
    while process.poll() is None:
        if sum(path.read_bytes().count(b"\n") for path in folder.glob("rows*.jsonl")) >= number:
            return True
        time.sleep(0.01)
    return False


def children(process):
    return [int(number) for number in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]


def rows(folder):
    found = [replace(row, seconds=0.0) for row in read_run(folder)]
    assert len({row.key for row in found}) == len(found) == ALL
    assert [path.name for path in folder.glob("rows*.jsonl")] == [ROWS]
    return found


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds child processes in /proc")
@pytest.mark.parametrize("seed", range(3))
def test_killed_with_two_processes_then_with_one_and_finished_by_three(start, tmp_path, seed):
    generator = random.Random(seed)
    finish(start("calm", 1, 0.0))
    folder = tmp_path / "run"
    first = start("run", 2)
    written = generator.randint(1, ALL // 3)
    assert wait_for_rows(first, folder, written), first.communicate()[1]
    victim = generator.choice([first.pid, *children(first)])
    os.kill(victim, signal.SIGKILL)
    first.wait(timeout=120)  # whoever is left does not wait for the dead
    assert first.returncode != 0
    second = start("run", 1)
    assert wait_for_rows(second, folder, generator.randint(written + 1, ALL - 40)), second.communicate()[1]
    second.kill()
    second.wait()
    finish(start("run", 3, 0.0))
    assert rows(folder) == rows(tmp_path / "calm")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM])
def test_a_request_to_stop_reaches_all_processes(start, tmp_path, number):
    finish(start("calm", 1, 0.0))
    first = start("run", 2)
    assert wait_for_rows(first, tmp_path / "run", 20), first.communicate()[1]
    first.send_signal(number)
    _, errors = first.communicate(timeout=600)  # until the last process has closed its stderr
    assert first.returncode == 0, errors
    assert f"stopped; what is done is in {tmp_path / 'run'}, and the same command goes on" in errors
    assert "Traceback" not in errors
    finish(start("run", 1, 0.0))
    assert rows(tmp_path / "run") == rows(tmp_path / "calm")
