import math

import pytest
import torch
from linear import bisected_norm, problem, smallest_norm

from voxcert.attacks import CrossEntropy, Margin, Verification, bim, fgsm, norms, pgd

ATTACKS = [fgsm, bim, pgd]
NORMS = ["linf", "l2"]


@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize("attack", ATTACKS)
def test_l2_attacks_find_the_nearest_hyperplane_of_two(attack, targeted):
    recognizer, waveform, labels = problem(6, 300, 2, targeted)
    optimal = smallest_norm(recognizer, waveform, labels, targeted)
    found = bisected_norm(attack, recognizer, waveform, labels, Margin(), targeted)
    assert (found / optimal).max() <= 1.05
    assert (found / optimal).min() >= 0.999


@pytest.mark.parametrize("objective", [Margin(), CrossEntropy(), Margin(threshold=0.05)])
@pytest.mark.parametrize("targeted", [False, True])
def test_pgd_finds_the_smallest_l2_perturbation_among_many_speakers(objective, targeted):
    recognizer, waveform, labels = problem(6, 300, 5, targeted)
    optimal = smallest_norm(recognizer, waveform, labels, targeted, objective.threshold)
    found = bisected_norm(pgd, recognizer, waveform, labels, objective, targeted)
    assert (found / optimal).max() <= 1.05
    assert (found / optimal).min() >= 0.999


@pytest.mark.parametrize("targeted", [False, True])
def test_pgd_crosses_a_verification_threshold_at_its_distance(targeted):
    recognizer, waveform, labels = problem(6, 300, 5, targeted=False)
    scores = recognizer(waveform).gather(1, labels[:, None]).squeeze(1).detach()
    objective = Verification(float(scores.max() + 0.1 if targeted else scores.min() - 0.1))
    found = bisected_norm(pgd, recognizer, waveform, labels, objective, targeted)
    torch.testing.assert_close(found, (scores - objective.threshold).abs(), rtol=0.05, atol=0)


@pytest.mark.parametrize("attack", ATTACKS)
def test_linf_attacks_shift_a_linear_margin_by_epsilon_times_the_l1_norm(attack):
    recognizer, waveform, labels = problem(4, 300, 2, targeted=False)
    adversarial = attack(recognizer, waveform, labels, epsilon=0.01, norm="linf")
    shift = recognizer(waveform) - recognizer(adversarial)
    expected = 0.01 * (recognizer.weights[0] - recognizer.weights[1]).abs().sum()
    torch.testing.assert_close((shift[:, 0] - shift[:, 1]).abs(), expected.expand(4), rtol=1e-3, atol=0)


@pytest.mark.parametrize("peak", [0.5, 3.0])
@pytest.mark.parametrize(("batch", "time"), [(1, 37), (5, 400)])
@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("attack", ATTACKS)
def test_attacks_stay_in_their_ball_and_in_the_range_of_waveforms(attack, norm, targeted, batch, time, peak):
    recognizer, waveform, labels = problem(batch, time, 5, targeted, peak)
    before = waveform.clone()
    epsilon = {"linf": 0.02, "l2": 0.3}[norm] * torch.linspace(1, 2, batch)
    adversarial = attack(recognizer, waveform, labels, epsilon=epsilon, norm=norm, targeted=targeted)
    assert torch.equal(waveform, before)
    assert adversarial.shape == waveform.shape
    assert adversarial.abs().max() <= 1
    assert (norms(adversarial - waveform, norm) <= epsilon * (1 + 1e-5)).all()
    objective = Margin()
    gained = objective.margin(recognizer(waveform), labels, targeted) - objective.margin(
        recognizer(adversarial), labels, targeted
    )
    assert (gained > 0).all()


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("attack", [fgsm, bim, pgd(random_start=False), pgd(random_start=False, early_stop=True)])
def test_a_row_of_a_batch_equals_the_single_attack(attack, norm):
    recognizer, waveform, labels = problem(5, 400, 4, targeted=True)
    epsilon = {"linf": 0.01, "l2": 0.15}[norm]
    together = attack(recognizer, waveform, labels, epsilon=epsilon, norm=norm, targeted=True)
    for row in range(len(waveform)):
        one = slice(row, row + 1)
        alone = attack(recognizer, waveform[one], labels[one], epsilon=epsilon, norm=norm, targeted=True)
        torch.testing.assert_close(together[one], alone, rtol=0, atol=2e-6)


def test_early_stop_leaves_an_example_where_it_first_succeeds():
    recognizer, waveform, labels = problem(6, 300, 4, targeted=False)
    far = pgd(recognizer, waveform, labels, epsilon=1.0, norm="l2", random_start=False)
    near = pgd(recognizer, waveform, labels, epsilon=1.0, norm="l2", random_start=False, early_stop=True)
    assert Margin().succeeded(recognizer(near), labels, False).all()
    assert (norms(near - waveform, "l2") < 0.9 * norms(far - waveform, "l2")).all()
    optimal = smallest_norm(recognizer, waveform, labels, False)
    step = 2.5 / 40
    assert (norms(near - waveform, "l2") <= optimal + 1.5 * step).all()


class Bowl(torch.nn.Module):
    """Two local minima: an attack that starts on the wrong side of 0 ends in the shallow one."""

    def forward(self, waveform):
        """Scores waveforms (batch, 1)."""
        depth = torch.where(waveform[:, :1] > 0, 1.0, 0.1)
        return torch.cat([1 - depth * waveform[:, :1].abs(), torch.zeros_like(waveform[:, :1])], dim=1)


def test_restarts_keep_the_best_run_of_each_example():
    waveform, labels = torch.zeros(16, 1), torch.zeros(16, dtype=torch.long)
    once = pgd(Bowl(), waveform, labels, epsilon=0.5)
    often = pgd(Bowl(), waveform, labels, epsilon=0.5, restarts=10)
    assert (once < 0).any()
    torch.testing.assert_close(often, torch.full_like(often, 0.5))


def test_random_starts_come_from_the_generator_alone():
    recognizer, waveform, labels = problem(2, 100, 3, targeted=False)

    def run(seed, steps=1):
        generator = torch.Generator().manual_seed(seed)
        return pgd(recognizer, waveform, labels, epsilon=0.01, steps=steps, step_size=1e-4, generator=generator)

    torch.manual_seed(0)
    state = torch.get_rng_state()
    first = run(0)
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(first, run(0))
    assert torch.equal(first, pgd(recognizer, waveform, labels, epsilon=0.01, steps=1, step_size=1e-4))
    assert not torch.equal(first, run(1))


def test_zero_epsilon_changes_nothing():
    recognizer, waveform, labels = problem(2, 100, 3, targeted=False)
    for attack in ATTACKS:
        torch.testing.assert_close(attack(recognizer, waveform, labels, epsilon=0.0), waveform, rtol=0, atol=0)


@pytest.mark.parametrize("step_size", [0.0, -0.01, math.nan])
def test_an_attack_that_would_not_move_is_refused(step_size):
    recognizer, waveform, labels = problem(2, 100, 3, targeted=False)
    with pytest.raises(ValueError, match=f"step_size must be positive or None, got {step_size:g}"):
        pgd(recognizer, waveform, labels, epsilon=0.1, step_size=step_size)
    pgd(recognizer, waveform, labels, epsilon=torch.tensor([0.0, 0.1]), step_size=torch.tensor([0.0, 0.1]))


@pytest.mark.parametrize("settings", [{"steps": 0}, {"restarts": 0}])
def test_counts_below_one_are_named(settings):
    recognizer, waveform, labels = problem(2, 100, 3, targeted=False)
    with pytest.raises(ValueError, match=f"steps and restarts must be at least 1, got .*{next(iter(settings))}=0"):
        pgd(recognizer, waveform, labels, epsilon=0.1, **settings)
