import pytest
import torch
from linear import Linear, problem, smallest_norm, speech_like

from voxcert.attacks import Margin, Verification, carlini_wagner, norms

QUICK = {"steps": 100, "search_steps": 6, "initial_const": 0.3, "lr": 1e-3}


@pytest.mark.parametrize("objective", [Margin(), Margin(threshold=0.05)])
@pytest.mark.parametrize("targeted", [False, True])
def test_perturbations_are_near_the_smallest(objective, targeted):
    recognizer, waveform, labels = problem(6, 300, 5, targeted)
    adversarial = carlini_wagner(recognizer, waveform, labels, targeted=targeted, objective=objective, **QUICK)
    assert objective.succeeded(recognizer(adversarial), labels, targeted).all()
    optimal = smallest_norm(recognizer, waveform, labels, targeted, objective.threshold)
    ratio = norms(adversarial - waveform, "l2") / optimal
    assert ratio.max() <= 1.25
    assert ratio.min() >= 0.999


@pytest.mark.parametrize("targeted", [False, True])
def test_verification_is_crossed_near_its_threshold(targeted):
    recognizer, waveform, labels = problem(4, 300, 5, targeted=False)
    scores = recognizer(waveform).gather(1, labels[:, None]).squeeze(1).detach()
    objective = Verification(float(scores.max() + 0.1 if targeted else scores.min() - 0.1))
    adversarial = carlini_wagner(recognizer, waveform, labels, targeted=targeted, objective=objective, **QUICK)
    assert objective.succeeded(recognizer(adversarial), labels, targeted).all()
    assert (norms(adversarial - waveform, "l2") <= 1.25 * (scores - objective.threshold).abs()).all()


@pytest.mark.parametrize("peak", [0.5, 3.0])
@pytest.mark.parametrize(("batch", "time"), [(1, 37), (5, 400)])
def test_results_are_waveforms(batch, time, peak):
    recognizer, waveform, labels = problem(batch, time, 4, targeted=True, peak=peak)
    before = waveform.clone()
    adversarial = carlini_wagner(recognizer, waveform, labels, targeted=True, steps=100, search_steps=5, lr=1e-2)
    assert torch.equal(waveform, before)
    assert adversarial.shape == waveform.shape
    assert adversarial.abs().max() <= 1
    assert Margin().succeeded(recognizer(adversarial), labels, targeted=True).all()


@pytest.mark.parametrize("abort_early", [False, True])
def test_a_row_of_a_batch_equals_the_single_attack(abort_early):
    # In float64: the last digits differ between batch sizes, and Adam makes them steps where the gradient is about 0.
    recognizer, waveform, labels = problem(4, 200, 3, targeted=False)
    recognizer, waveform = recognizer.double(), waveform.double()
    settings = {"steps": 40, "search_steps": 3, "initial_const": 1.0, "lr": 1e-3, "abort_early": abort_early}
    together = carlini_wagner(recognizer, waveform, labels, **settings)
    for row in range(len(waveform)):
        one = slice(row, row + 1)
        alone = carlini_wagner(recognizer, waveform[one], labels[one], **settings)
        torch.testing.assert_close(together[one], alone, rtol=0, atol=1e-9)


def test_kappa_is_a_margin_of_success():
    recognizer, waveform, labels = problem(4, 300, 5, targeted=True)
    adversarial = carlini_wagner(recognizer, waveform, labels, targeted=True, kappa=0.3, **QUICK)
    assert (Margin().margin(recognizer(adversarial), labels, targeted=True) <= -0.3).all()


def test_without_success_the_waveform_comes_back():
    waveform, labels = speech_like(2, 100), torch.tensor([0, 0])

    def deaf(waveform):
        return torch.stack([0 * waveform.sum(dim=1) + 1, 0 * waveform.sum(dim=1)], dim=1)

    assert torch.equal(carlini_wagner(deaf, waveform, labels, steps=5, search_steps=2), waveform)


@pytest.mark.parametrize("peak", [0.5, 3.0])
def test_a_waveform_that_succeeds_already_comes_back(peak):
    """Exactly: a perturbation of the size of rounding would count as one of 120 dB."""
    recognizer, waveform, labels = problem(4, 300, 5, targeted=False, peak=peak)
    margin = Margin().margin(recognizer(waveform), labels, targeted=True).detach()
    kappa = float(-margin.sort().values[1:3].mean())
    adversarial = carlini_wagner(recognizer, waveform, labels, targeted=True, kappa=kappa, **QUICK)
    unchanged = (adversarial == waveform).all(dim=1)
    assert torch.equal(unchanged, margin <= -kappa)
    assert unchanged.sum() == 2


def test_giving_up_early_saves_passes():
    counts = []
    for abort_early in (False, True):
        recognizer, waveform, labels = problem(2, 100, 3, targeted=False)
        passes = []
        carlini_wagner(
            lambda waveform, passes=passes, recognizer=recognizer: passes.append(1) or recognizer(waveform),
            waveform,
            labels,
            steps=150,
            search_steps=2,
            lr=1e-3,
            abort_early=abort_early,
        )
        counts.append(len(passes))
    assert counts[0] == 2 * 151
    assert counts[1] < 200


@pytest.mark.parametrize("kappa", [-0.1, float("nan")])
def test_a_negative_margin_is_named(kappa):
    with pytest.raises(ValueError, match=f"kappa must be at least 0, got {kappa}"):
        carlini_wagner(Linear(2, 8), torch.zeros(1, 8), torch.tensor([0]), kappa=kappa)


@pytest.mark.parametrize("name", ["steps", "search_steps", "initial_const", "lr"])
def test_settings_out_of_range_are_named(name):
    with pytest.raises(ValueError, match=f"{name} must be .*got 0"):
        carlini_wagner(Linear(2, 8), torch.zeros(1, 8), torch.tensor([0]), **{name: 0})
