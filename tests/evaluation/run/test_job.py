"""Tasks are done once, by any number of processes, whatever a killed run left behind."""

import itertools
import json
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from torch.distributed import HashStore

from voxcert.evaluation.run import job, progress, queue
from voxcert.evaluation.run.folder import ROWS
from voxcert.evaluation.run.job import Task, do_tasks, seed_of
from voxcert.evaluation.run.tasks import rows_path
from voxcert.rows import Row, RowWriter, iterate_rows, read_rows


@dataclass(frozen=True)
class Square(Row):
    """A number and a rule's result."""

    number: int
    rule: str
    value: int | None

    @property
    def key(self):
        """Number and rule."""
        return self.number, self.rule


RULES = ("plain", "double")
TASKS = [Task(number, tuple((number, rule) for rule in RULES)) for number in (3, 1, 2)]


def squares(number):
    return [Square(number, "plain", number**2), Square(number, "double", 2 * number**2)]


def process(rank=0, world_size=1):
    return SimpleNamespace(
        global_rank=rank,
        local_rank=rank,
        world_size=world_size,
        is_global_zero=rank == 0,
        device=torch.device("cpu"),
        barrier=lambda name: None,
    )


def do(folder, asked, fabric=None, **settings):
    def make(number):
        asked.append(number)
        return squares(number)

    fabric = fabric or process()
    return list(do_tasks(TASKS, make, Square, folder, fabric, verb="squaring", unit="number", **settings))


@pytest.fixture
def foreground():
    """Signals as in a terminal, whatever the shell made of those of a background job."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("foreground")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_request_to_stop_ends_the_run_after_the_task_at_hand(tmp_path, capsys, number):
    before = signal.getsignal(number)

    def make(task):
        os.kill(os.getpid(), number)
        return squares(task)

    with pytest.raises(SystemExit) as stop:
        do_tasks(TASKS, make, Square, tmp_path, process(), verb="squaring", unit="number")
    assert stop.value.code == 0
    assert f"what is done is in {tmp_path}, and the same command goes on" in capsys.readouterr().err
    assert read_rows(tmp_path / ROWS, Square) == squares(3), "the task at hand was finished and kept"
    assert signal.getsignal(number) is before
    asked = []
    assert len(do(tmp_path, asked)) == 6
    assert asked == [1, 2]


@pytest.mark.usefixtures("foreground")
def test_a_second_request_stops_at_once(tmp_path):
    def make(task):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        raise AssertionError("the second one interrupts")

    with pytest.raises(KeyboardInterrupt):
        do_tasks(TASKS, make, Square, tmp_path, process(), verb="squaring", unit="number")


@pytest.mark.usefixtures("foreground")
def test_what_a_shell_made_ignored_is_ignored(tmp_path):
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def make(task):
        os.kill(os.getpid(), signal.SIGINT)
        return squares(task)

    assert len(do_tasks(TASKS, make, Square, tmp_path, process(), verb="squaring", unit="number")) == 6


def write(folder, rank, rows):
    with RowWriter(rows_path(folder, rank)) as writer:
        writer.write(rows)


def test_rows_come_in_the_plans_order_and_nothing_is_done_twice(tmp_path):
    asked = []
    rows = do(tmp_path, asked)
    assert rows == [*squares(3), *squares(1), *squares(2)] == read_rows(tmp_path / ROWS, Square)
    assert do(tmp_path, asked) == rows
    assert asked == [3, 1, 2]


def test_what_was_cut_short_is_done_again(tmp_path):
    write(tmp_path, 0, [*squares(2), squares(3)[0]])  # killed between two rows
    write(tmp_path, 1, squares(2))  # made twice, by a process that outlived its run
    with (tmp_path / ROWS).open("a") as file:
        file.write('{"number": 1, "ru')
    asked = []
    assert do(tmp_path, asked) == [*squares(3), *squares(1), *squares(2)]
    assert asked == [3, 1]
    assert [path.name for path in tmp_path.iterdir()] == [ROWS]


@pytest.fixture
def shared(monkeypatch):
    """One store for all processes that a test plays."""
    store = HashStore()
    monkeypatch.setattr(job, "shared_store", lambda fabric: store)
    monkeypatch.setattr(job, "_QUEUES", itertools.repeat(0))


@pytest.mark.usefixtures("shared")
def test_what_one_process_took_the_other_does_not(tmp_path):
    asked = [], []
    assert do(tmp_path, asked[1], process(1, 2)) == []
    assert rows_path(tmp_path, 1).name == "rows.rank1.jsonl"
    assert asked[1] == [3, 1, 2], "the first process is late, and holds nobody up"
    assert do(tmp_path, asked[0], process(0, 2)) == [*squares(3), *squares(1), *squares(2)]
    assert asked[0] == []


@pytest.mark.usefixtures("shared")
def test_a_slow_process_does_what_it_can(tmp_path):
    first_is_at_it, others_are_done, asked = threading.Event(), threading.Event(), ([], [])

    def slow(number):
        first_is_at_it.set()
        assert others_are_done.wait(60)
        return make(0, number)

    def make(rank, number):
        asked[rank].append(number)
        return squares(number)

    settings = {"verb": "squaring", "unit": "number"}
    with ThreadPoolExecutor() as pool:
        rows = pool.submit(do_tasks, TASKS, slow, Square, tmp_path, process(0, 2), **settings)
        assert first_is_at_it.wait(60)
        assert not do_tasks(TASKS, partial(make, 1), Square, tmp_path, process(1, 2), **settings)
        others_are_done.set()
        assert list(rows.result()) == [*squares(3), *squares(1), *squares(2)]
    assert asked == ([3], [1, 2])


@pytest.mark.usefixtures("shared")
def test_a_process_that_reads_late_shares_the_same_tasks(tmp_path, monkeypatch):
    """A continued run: the second process still reads what is finished when the first could have new rows."""
    write(tmp_path, 0, squares(3))
    both, written, second_is_done, asked = threading.Barrier(2), threading.Event(), threading.Event(), []

    def is_second():
        return threading.current_thread().name.startswith("second")

    def late(path, kind):
        if is_second():
            written.wait(1.0)
        return iterate_rows(path, kind)

    def advance(progress, done, rows):
        written.set()
        assert is_second() or second_is_done.wait(60)

    def make(number):
        asked.append(number)
        return squares(number)

    def start(rank):
        fabric = process(rank, 2)
        fabric.barrier = lambda name: both.wait(60)
        return list(do_tasks(TASKS, make, Square, tmp_path, fabric, verb="squaring", unit="number"))

    monkeypatch.setattr(job, "iterate_rows", late)
    monkeypatch.setattr(progress.Progress, "advance", advance)
    with ThreadPoolExecutor(1, "first") as first, ThreadPoolExecutor(1, "second") as second:
        rows = first.submit(start, 0)
        assert second.submit(start, 1).result() == []
        second_is_done.set()
        assert rows.result() == [*squares(3), *squares(1), *squares(2)]
    assert sorted(asked) == [1, 2]


@pytest.mark.usefixtures("shared")
def test_a_process_that_is_not_there_is_missed(tmp_path, monkeypatch):
    monkeypatch.setattr(queue, "SILENCE", 0.1)
    with pytest.raises(ConnectionError, match="process 1 of 2 was not heard of for 0.1 s; what is done is kept"):
        do(tmp_path, [], process(0, 2))
    assert len(do(tmp_path, [])) == 6


def test_a_task_without_rows_is_missed(tmp_path):
    with pytest.raises(RuntimeError, match="lacks rows of some of 3 planned tasks"):
        do_tasks(TASKS, lambda number: [], Square, tmp_path, process(), verb="squaring", unit="number")


@pytest.mark.usefixtures("shared")
def test_lines_of_json_say_how_far_all_are(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(progress, "EVERY", 0.0)
    do(tmp_path, [], process(1, 2), log_format="json")
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [(line["event"], line["rank"], line["done"], line["total"]) for line in lines] == [
        ("squaring", 1, done, 3) for done in (1, 2, 3)
    ]
    assert lines[-1]["eta_seconds"] == 0
    assert all(line["rows_per_second"] > 0 and line["memory_bytes"] > 10**7 for line in lines)


def test_rows_that_do_not_count_are_made_again_and_others_are_kept(tmp_path):
    write(tmp_path, 0, [Square(3, "plain", None), Square(3, "double", None), *squares(7)])
    asked = []
    assert do(tmp_path, asked, counts=lambda row: row.value is not None) == [*squares(3), *squares(1), *squares(2)]
    assert asked == [3, 1, 2]
    assert read_rows(tmp_path / ROWS, Square)[-2:] == squares(7), "of a task that is not in this plan"


def test_the_note_is_about_the_task_and_the_rows_so_far(tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr(progress, "NOTE_SHARE", 0.0)
    do(tmp_path, [], note=lambda number, rows: told.append((number, len(rows))) or "")
    assert told == [(3, 0), (1, 2), (2, 4)]


def test_seeds_depend_on_every_part_and_its_place():
    assert seed_of(0, "ab", "c") == seed_of(0, "ab", "c")
    assert len({seed_of(0, "ab", "c"), seed_of(0, "a", "bc"), seed_of(1, "ab", "c"), seed_of(0, "c", "ab")}) == 4
    assert 0 <= seed_of("x") < 2**32
