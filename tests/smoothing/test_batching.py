import time

import torch

from voxcert.smoothing.batching import MAX_BATCH_SIZE, fastest_batch_size

WAVEFORM = torch.zeros(8)


def encoder(seconds, limit=10**9):
    """Takes seconds(batch size) per call and runs out of memory above the limit."""

    def call(batch):
        if len(batch) > limit:
            raise torch.OutOfMemoryError("made up")
        end = time.perf_counter() + seconds(len(batch))
        while time.perf_counter() < end:
            pass
        return batch

    return call


def test_a_fixed_cost_per_call_asks_for_large_batches():
    assert fastest_batch_size(encoder(lambda n: 2e-3), WAVEFORM, 256) == 256


def test_a_cost_that_explodes_asks_for_small_batches():
    assert fastest_batch_size(encoder(lambda n: 1e-3 * n**2), WAVEFORM, 256) == 1


def test_memory_and_the_number_of_samples_limit_the_batch():
    assert fastest_batch_size(encoder(lambda n: 2e-3, limit=20), WAVEFORM, 256) == 16
    assert fastest_batch_size(encoder(lambda n: 2e-3), WAVEFORM, 100) == 64
    assert fastest_batch_size(encoder(lambda n: 0.0, limit=0), WAVEFORM) == 1
    assert MAX_BATCH_SIZE["cuda"] >= 256
