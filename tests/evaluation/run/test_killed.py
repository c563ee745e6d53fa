"""Real processes that are killed: whatever the number of processes and the moment, the rows are those of a calm run."""

import multiprocessing
import os
import random
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
from ranked import certify_as

from voxcert.evaluation.certification.folder import read_run
from voxcert.evaluation.run.folder import ROWS

ROOT = Path(__file__).parents[3]
PROGRAM = "import sys; from ranked import certify; certify(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))"
"""Started once, it starts as many processes as it is told itself."""
ALL = 61 * 4
PAUSE = 0.005
SEEDS = range(int(os.environ.get("VOXCERT_FAULT_SEEDS", "3")))
"""Each is a random moment; one takes half a minute, with either signal."""


@pytest.fixture
def start(tmp_path):
    """A function that starts the program in a folder; whatever is left of it is killed in the end."""
    paths = os.pathsep.join((str(ROOT / "src"), str(ROOT / "tests" / "evaluation")))
    environment = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    (tmp_path / "program.py").write_text(PROGRAM)
    started = []

    def run(folder, devices, pause=PAUSE):
        command = [sys.executable, str(tmp_path / "program.py"), str(folder), str(devices), str(pause)]
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


@pytest.fixture(scope="module")
def server():
    """Starts processes that have imported everything already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["ranked"])
    return context


@pytest.fixture
def start_ranks(server):
    """A function that starts the processes of a run in a folder, one by one; what is left is killed in the end."""
    started: list[BaseProcess] = []

    def run(folder, world_size, pause=PAUSE):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        processes = [
            server.Process(target=certify_as, args=(rank, world_size, port, str(folder), pause))
            for rank in range(world_size)
        ]
        for process in processes:
            process.start()
        started.extend(processes)
        return processes

    yield run
    for process in started:
        process.kill()
        process.join()
        process.close()


@pytest.fixture(scope="module")
def calm(server, tmp_path_factory):
    """The rows of a run that nobody disturbs."""
    folder = tmp_path_factory.mktemp("calm") / "run"
    process = server.Process(target=certify_as, args=(0, 1, 0, str(folder), 0.0))
    process.start()
    process.join(600)
    assert process.exitcode == 0, log_of(folder)
    return rows(folder)


def log_of(folder):
    return Path(f"{folder}.stderr").read_text()


def finish(process):
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors


def number_of_rows(folder):
    """Each row once: while files are merged, a row stands in two of them."""
    found = set()
    for path in folder.glob("rows*.jsonl"):
        with suppress(FileNotFoundError):  # merged meanwhile
            found.update(path.read_bytes().split(b"\n")[:-1])
    return len(found)


def wait_for_rows(is_running, folder, number):
    """Waits until so many rows are written; returns whether the program was still running."""
    while is_running():
        if number_of_rows(folder) >= number:
            return True
        time.sleep(0.005)
    return False


def children(process):
    return [int(number) for number in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]


def rows(folder):
    found = [replace(row, seconds=0.0) for row in read_run(folder)]
    assert len({row.key for row in found}) == len(found) == ALL
    assert [path.name for path in folder.glob("rows*.jsonl")] == [ROWS]
    return found


def disturb(processes, folder, written, number, generator):
    """Sends a signal to one of the processes once so many rows are written, and waits until all have ended."""
    assert wait_for_rows(lambda: all(one.is_alive() for one in processes), folder, written), log_of(folder)
    victim = generator.choice(processes)
    os.kill(victim.pid, number)
    if number == signal.SIGKILL:  # whoever started them ends the others after a while, as torchrun does
        time.sleep(generator.uniform(0.0, 0.1))
        for one in processes:
            one.kill()
    for one in processes:
        one.join(300)
    if number == signal.SIGTERM:
        assert {one.exitcode for one in processes} == {0}, log_of(folder)
    else:
        assert 0 not in {one.exitcode for one in processes}, "none was killed, or found the others gone"


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("seed", SEEDS)
def test_disturbed_with_two_processes_then_with_one_and_finished_by_three(start_ranks, calm, tmp_path, seed, number):
    generator, folder = random.Random(seed), tmp_path / "run"
    for world_size, most in ((2, ALL // 3), (1, ALL - 60)):
        before = number_of_rows(folder)
        processes = start_ranks(folder, world_size)
        disturb(processes, folder, generator.randint(before + 1, max(before + 1, most)), number, generator)
    assert 0 < number_of_rows(folder) < ALL
    for process in start_ranks(folder, 3):
        process.join(300)
        assert process.exitcode == 0, log_of(folder)
    assert rows(folder) == calm
    if number == signal.SIGTERM:
        assert log_of(folder).count(f"stopped; what is done is in {folder}, and the same command goes on") == 2
        assert "Traceback" not in log_of(folder)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds child processes in /proc")
def test_processes_of_one_that_was_killed_do_not_wait_for_it(start, calm, tmp_path):
    first, folder = start(tmp_path / "run", 2), tmp_path / "run"
    assert wait_for_rows(lambda: first.poll() is None, folder, 20), first.communicate()[1]
    (child,) = children(first)
    os.kill(child, signal.SIGKILL)
    first.wait(timeout=120)
    assert first.returncode != 0
    finish(start(folder, 1, 0.0))
    assert rows(folder) == calm


@pytest.mark.slow
def test_a_request_to_stop_reaches_all_processes(start, calm, tmp_path):
    first, folder = start(tmp_path / "run", 2), tmp_path / "run"
    assert wait_for_rows(lambda: first.poll() is None, folder, 20), first.communicate()[1]
    first.send_signal(signal.SIGTERM)
    _, errors = first.communicate(timeout=600)  # until the last process has closed its stderr
    assert first.returncode == 0, errors
    assert f"stopped; what is done is in {folder}, and the same command goes on" in errors
    assert "Traceback" not in errors
    finish(start(folder, 1, 0.0))
    assert rows(folder) == calm
