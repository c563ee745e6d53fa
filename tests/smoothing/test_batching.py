"""The batch size search, on a clock made for the test."""

import pytest
import torch

from voxcert.smoothing import batching
from voxcert.smoothing.batching import MAX_BATCH_SIZE, fastest_batch_size

WAVEFORM = torch.zeros(8)


@pytest.fixture
def search(monkeypatch):
    """Makes the search on an encoder whose batch of n rows costs `cost(n)` seconds, with memory for `memory` rows."""

    def run(cost, limit=1024, memory=10_000):
        def seconds(encoder, batch):
            if len(batch) > memory:
                raise torch.OutOfMemoryError
            return cost(len(batch))

        monkeypatch.setattr(batching, "_seconds_per_call", seconds)
        return fastest_batch_size(lambda batch: batch, WAVEFORM, limit)

    return run


def test_a_fixed_cost_per_call_asks_for_large_batches(search):
    assert search(lambda n: 2e-3) == MAX_BATCH_SIZE["cpu"]


def test_a_cost_that_explodes_asks_for_small_batches(search):
    assert search(lambda n: 1e-3 * n**2) == 1


def test_a_best_size_in_the_middle_is_found(search):
    assert search(lambda n: 1e-3 * (n if n <= 32 else 2 * n) + 1e-2) == 32


def test_memory_and_the_number_of_samples_limit_the_batch(search):
    assert search(lambda n: 2e-3, memory=20) == 16
    assert search(lambda n: 2e-3, limit=100) == 64
    assert search(lambda n: 2e-3, memory=0) == 1


def test_the_clock_itself_counts_calls():
    calls = []
    assert batching._seconds_per_call(lambda batch: calls.append(len(batch)), WAVEFORM.repeat(4, 1)) >= 0
    assert calls == [4] * 4  # one to warm up, three to time
