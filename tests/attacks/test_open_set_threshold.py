import math

import pytest
import torch
from linear import Linear, speech_like

from voxcert.attacks import Margin, estimate_threshold, nes


@pytest.fixture
def system():
    """A recognizer, an impostor's utterance, and a system's decision from a threshold on, which counts its queries."""
    recognizer, waveform = Linear(4, 100), speech_like(1, 100)[0]
    threshold = float(recognizer(waveform[None]).detach().max()) + 0.4

    class Decision:
        queries = 0

        def __call__(self, waveform):
            self.queries += len(waveform)
            with torch.no_grad():
                return recognizer(waveform).amax(dim=1) >= threshold

    return recognizer, Decision(), waveform, threshold


@pytest.mark.parametrize("tolerance", [0.1, 1e-4])
def test_the_bracket_holds_the_threshold(system, tolerance):
    recognizer, accepts, waveform, threshold = system
    low, high = estimate_threshold(recognizer, accepts, waveform, tolerance=tolerance, step_size=5e-3)
    assert low < threshold <= high
    assert high - low <= tolerance
    assert accepts.queries < 2000


def test_an_attack_with_the_estimate_is_accepted(system):
    recognizer, accepts, waveform, _ = system
    _, high = estimate_threshold(recognizer, accepts, waveform, step_size=5e-3)
    impostor = speech_like(1, 100, seed=7)
    assert not accepts(impostor)
    objective = Margin(threshold=high)
    settings = {"epsilon": 2.0, "norm": "l2", "max_queries": 3000, "objective": objective, "targeted": True}
    assert accepts(nes(recognizer, impostor, torch.tensor([2]), **settings)).all()


@pytest.mark.parametrize("max_queries", [1, 60, 200])
def test_the_budget_is_kept_and_the_bracket_stays_honest(system, max_queries):
    recognizer, accepts, waveform, threshold = system
    low, high = estimate_threshold(recognizer, accepts, waveform, max_queries=max_queries, step_size=1e-5)
    assert accepts.queries <= max_queries
    assert low < threshold
    assert high == math.inf


def test_an_accepted_waveform_is_refused(system):
    recognizer, accepts, waveform, _ = system
    with pytest.raises(ValueError, match="waveform must be one that the system rejects"):
        estimate_threshold(recognizer, accepts, (waveform + 2 * recognizer.weights[0].detach()).clamp(-1, 1))


def test_a_batch_is_refused(system):
    recognizer, accepts, waveform, _ = system
    with pytest.raises(ValueError, match=r"waveform must have shape \(time,\), got \(1, 100\)"):
        estimate_threshold(recognizer, accepts, waveform[None])
