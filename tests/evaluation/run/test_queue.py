"""Every task is given out once; who is dead is not waited for."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from torch.distributed import HashStore

from voxcert.evaluation.run import queue as module
from voxcert.evaluation.run.queue import Queue


def test_every_task_is_taken_once():
    store, start = HashStore(), threading.Barrier(4)

    def take(rank):
        start.wait()
        return list(Queue("a", 1000, rank, 4, store))

    with ThreadPoolExecutor(4) as pool:
        taken = list(pool.map(take, range(4)))
    assert sorted(task for tasks in taken for task in tasks) == list(range(1000))
    assert all(tasks == sorted(tasks) for tasks in taken)
    assert list(Queue("b", 2, 0, 4, store)) == [0, 1], "another queue is counted apart"


def test_all_stop_when_one_is_asked_to():
    store = HashStore()
    first, second = (Queue("a", 10, rank, 2, store) for rank in (0, 1))
    tasks = iter(first)
    assert next(tasks) == 0
    second.stop()
    assert list(tasks) == list(second) == []
    assert second.wait()
    assert first.wait()


def test_the_first_process_waits_for_those_that_live(monkeypatch):
    monkeypatch.setattr(module, "SILENCE", 1.0)
    monkeypatch.setattr(module, "BEAT", 0.05)
    store, waited = HashStore(), threading.Event()
    first, second, late = (Queue("a", 0, rank, 3, store) for rank in (0, 1, 2))
    with second, ThreadPoolExecutor() as pool:
        late.wait()  # returns at once, being no first process
        waiting = pool.submit(lambda: (first.wait(), waited.set()))
        assert not waited.wait(2.0), "it is slow, and beats"
        second.wait()
        waiting.result(60)
    assert waited.is_set()


def test_a_request_to_stop_reaches_those_who_are_waited_for():
    store = HashStore()
    first, second = (Queue("a", 10, rank, 2, store) for rank in (0, 1))

    def ask():
        if second.stopped:
            second.wait()
        return True

    assert first.wait(ask)
    assert list(second) == []


def test_a_dead_process_is_named(monkeypatch):
    monkeypatch.setattr(module, "SILENCE", 0.2)
    first = Queue("a", 0, 0, 3, store := HashStore())
    Queue("a", 0, 2, 3, store).wait()
    with pytest.raises(ConnectionError, match="process 1 of 3 was not heard of for 0.2 s"):
        first.wait()


def test_without_the_store_there_is_a_message():
    class Gone(HashStore):
        """A store whose process was killed."""

        def add(self, key, value):
            """Fails as TCPStore does."""
            raise RuntimeError("Broken pipe")

    queue = Queue("a", 1, 1, 2, HashStore())
    queue._store = Gone()
    with pytest.raises(ConnectionError, match="the first process, which shares out the tasks, is gone"):
        list(queue)
