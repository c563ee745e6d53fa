"""The cost of every attack in closed form: its loops, written down as numbers of passes."""

import pytest
import torch
from linear import Linear, speech_like

from voxcert.attacks import (
    Counted,
    ExpectationOverNoise,
    SaliencyGenerator,
    Verification,
    bim,
    carlini_wagner,
    fgsm,
    imperceptible,
    nes,
    pgd,
    ssed,
    universal,
)

NEVER = Verification(-100.0)
"""No attack has a claim rejected at this threshold, so none stops early."""
TIME = 4000


@pytest.fixture
def problem():
    """A linear recognizer, three waveforms, their labels."""
    return Linear(3, TIME), speech_like(3, TIME), torch.tensor([0, 1, 2])


def cost(attack, recognizer, *problem):
    """Passes per example, forwards and backwards."""
    counted = Counted(recognizer)
    attack(counted, *problem, objective=NEVER)
    return counted.forwards / len(problem[0]), counted.backwards / len(problem[0])


@pytest.mark.parametrize(
    ("attack", "forwards", "backwards"),
    [
        (fgsm(epsilon=0.01), 1, 1),
        (bim(epsilon=0.01, steps=10), 10, 10),
        (pgd(epsilon=0.01, steps=5), 5, 5),
        (pgd(epsilon=0.01, steps=5, restarts=3), 3 * (5 + 1), 3 * 5),  # each run is judged
        (pgd(epsilon=0.01, steps=5, early_stop=True), 5, 5),
        (carlini_wagner(steps=7, search_steps=3, abort_early=False), 3 * (7 + 1), 3 * 7),  # the last pass judges
        (imperceptible(epsilon=0.01, steps=4, hiding_steps=6), 4 + 6 + 1, 4 + 6),
        (nes(epsilon=0.01, num_pairs=5, max_queries=40), 3 * (2 * 5 + 1), 0),  # queries are forwards
        (universal(perturbation=torch.zeros(TIME)), 0, 0),
        (ssed(network=SaliencyGenerator((2, 2, 2), dilations=()).eval(), targeted=True), 0, 0),  # not of the victim
    ],
)
def test_an_attack_costs_what_its_loops_say(problem, attack, forwards, backwards):
    assert cost(attack, *problem) == (forwards, backwards)


@pytest.mark.parametrize(("batch_size", "again"), [(100, 1), (6, 2)])
def test_draws_of_noise_multiply(problem, batch_size, again):
    # In chunks of two draws of three waveforms, a chunk is computed once more for its gradient.
    recognizer, waveform, labels = problem
    counted = Counted(recognizer)
    smoothed = ExpectationOverNoise(counted, 0.1, 4, batch_size=batch_size)
    pgd(smoothed, waveform, labels, epsilon=0.01, steps=5, restarts=2, objective=NEVER)
    assert counted.forwards == 3 * 4 * 2 * (5 * again + 1)
    assert counted.backwards == 3 * 4 * 2 * 5


def test_rows_that_an_attack_leaves_out_do_not_count(problem):
    recognizer, waveform, labels = problem
    scores = recognizer(waveform).diagonal().detach()
    objective = Verification(float(scores.min() + scores.median()) / 2)  # one claim is refused as it is
    counted = Counted(recognizer)
    nes(counted, waveform, labels, epsilon=1e-6, num_pairs=5, max_queries=33, objective=objective)
    assert (counted.forwards, counted.backwards) == (2 * 33 + 1, 0)


def test_counting_changes_nothing(problem):
    recognizer, waveform, labels = problem
    counted = Counted(recognizer)
    assert torch.equal(counted(waveform), recognizer(waveform))
    with torch.no_grad():
        counted(waveform[:2])
    assert (counted.forwards, counted.backwards) == (5, 0)
    settings = {"epsilon": 0.01, "steps": 3}
    assert torch.equal(pgd(counted, waveform, labels, **settings), pgd(recognizer, waveform, labels, **settings))
    assert all(parameter.grad is None for parameter in recognizer.parameters())
