import pytest
import torch
from linear import Linear, smallest_norm, speech_like

from voxcert.attacks import Counted, Margin, Verification, nes, norms
from voxcert.attacks.score_based import nes_gradient


def blind(recognizer):
    """The same scores from numpy: nothing can be differentiated."""
    weights = recognizer.weights.detach().numpy()
    return lambda waveform: torch.from_numpy(waveform.numpy() @ weights.T)


def problem(batch=4, time=100, num_speakers=3):
    recognizer, waveform = Linear(num_speakers, time), speech_like(batch, time)
    return recognizer, waveform, recognizer(waveform).argmax(dim=1)


@pytest.mark.parametrize("chunks", [[1], [8], [5, 5, 5, 5]])
def test_the_estimate_has_the_moments_of_its_theory(chunks):
    time, repeats, pairs = 40, 4000, sum(chunks)
    weights = torch.randn(time, generator=torch.Generator().manual_seed(1))
    generator = torch.Generator().manual_seed(2)
    estimate = nes_gradient(lambda probes: probes @ weights, torch.zeros(repeats, time), 1e-2, chunks, generator)
    squared = weights.square().sum()
    along = estimate @ weights / squared  # mean 1, variance 2 / pairs: chi-squared over pairs
    assert along.mean().item() == pytest.approx(1, abs=4 * (2 / pairs / repeats) ** 0.5)
    assert along.var().item() == pytest.approx(2 / pairs, rel=0.25)
    # Each coordinate has variance (||w||^2 + w_i^2) / pairs; four standard errors of 40 means.
    error = (estimate.mean(dim=0) - weights) / ((squared + weights.square()) / pairs / repeats).sqrt()
    assert error.abs().max() < 4
    assert error.std().item() == pytest.approx(1, abs=0.4)
    energy = estimate.square().sum(dim=1).mean() / squared
    assert energy.item() == pytest.approx(1 + (time + 1) / pairs, rel=0.05)


def test_a_curved_loss_has_the_gradient_of_its_smoothing():
    # E (x + s u)^3 has the derivative 3 x^2 + 3 s^2.
    generator = torch.Generator().manual_seed(0)
    waveform = torch.full((20_000, 1), 0.2)
    estimate = nes_gradient(lambda probes: probes.pow(3).sum(dim=-1), waveform, 0.1, [4], generator)
    assert estimate.mean().item() == pytest.approx(3 * 0.2**2 + 3 * 0.1**2, rel=0.03)


@pytest.mark.parametrize("targeted", [False, True])
def test_the_smallest_l2_perturbation_is_enough_to_a_tenth(targeted):
    recognizer, waveform, labels = problem()
    labels = (labels + 1) % 3 if targeted else labels
    optimal = smallest_norm(recognizer, waveform, labels, targeted)
    settings = {"norm": "l2", "max_queries": 8000, "targeted": targeted}
    for factor, expected in {0.99: False, 1.1: True}.items():
        adversarial = nes(blind(recognizer), waveform, labels, epsilon=factor * optimal, **settings)
        assert (Margin().succeeded(recognizer(adversarial), labels, targeted) == expected).all()


def test_an_open_set_is_entered_at_its_threshold():
    recognizer, waveform, _ = problem()
    labels = torch.zeros(4, dtype=torch.long)
    threshold = float(recognizer(waveform).detach().max()) + 0.3
    objective = Margin(threshold=threshold)
    optimal = smallest_norm(recognizer, waveform, labels, True, threshold)
    found = nes(
        blind(recognizer), waveform, labels, epsilon=1.15 * optimal, norm="l2", objective=objective, targeted=True
    )
    scores = recognizer(found)
    assert (scores[:, 0] >= threshold).all()
    assert (scores.argmax(dim=1) == 0).all()


@pytest.mark.parametrize(("norm", "epsilon"), [("linf", 0.03), ("l2", 0.2)])
def test_attacks_stay_in_their_ball_and_in_the_range_of_waveforms(norm, epsilon):
    recognizer, labels = Linear(3, 100), torch.tensor([0, 1, 2])
    waveform = speech_like(3, 100, peak=3.0)
    budget = epsilon * torch.linspace(1, 2, 3)
    objective = Verification(-100.0)  # cannot be reached, so the whole budget is spent
    adversarial = nes(
        blind(recognizer), waveform, labels, epsilon=budget, norm=norm, max_queries=1000, objective=objective
    )
    assert adversarial.abs().max() <= 1
    assert (norms(adversarial - waveform, norm) <= budget * (1 + 1e-5)).all()
    gained = recognizer(waveform) - recognizer(adversarial)
    assert (gained.gather(1, labels[:, None]) > 0).all()


@pytest.mark.parametrize("max_queries", [51, 150, 1000])
def test_the_budget_of_queries_is_kept_and_used(max_queries):
    recognizer, waveform, labels = problem()
    counted = Counted(recognizer)
    nes(counted, waveform, labels, epsilon=1e-4, max_queries=max_queries)
    assert counted.forwards == 4 * (max_queries // 51 * 51)


def test_an_example_stays_where_it_first_succeeds_and_asks_no_more():
    recognizer, waveform, labels = problem()
    counted = Counted(recognizer)
    labels[1] = (labels[1] + 1) % 3  # succeeds as it is
    found = nes(counted, waveform, labels, epsilon=2.0, norm="l2", max_queries=10_000)
    assert torch.equal(found[1], waveform[1])
    assert Margin().succeeded(recognizer(found), labels, False).all()
    assert counted.forwards < 4 * 2000


def test_the_generator_alone_decides():
    recognizer, waveform, labels = problem()

    def run(seed, batch_size=64):
        generator = torch.Generator().manual_seed(seed)
        settings = {"epsilon": 0.01, "max_queries": 300, "batch_size": batch_size}
        return nes(recognizer, waveform, labels, generator=generator, **settings)

    assert torch.equal(run(0), run(0))
    torch.testing.assert_close(run(0), run(0, batch_size=7), rtol=0, atol=1e-6)
    assert not torch.equal(run(0), run(1))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_queries": 50}, "max_queries must allow a step .* got max_queries=50, num_pairs=25"),
        ({"num_pairs": 0}, "num_pairs be at least 1, got .*num_pairs=0"),
        ({"sigma": 0.0}, "sigma must be positive and .* got sigma=0.0"),
        ({"momentum": 1.0}, r"momentum lie in \[0, 1\), got .*momentum=1.0"),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"step_size": 0.0}, "step_size must be positive or None, got 0"),
    ],
)
def test_wrong_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        nes(*problem(), epsilon=0.1, **settings)
