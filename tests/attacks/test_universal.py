import jsonargparse
import pytest
import torch
from linear import Linear, speech_like

from voxcert.attacks import (
    Attack,
    Margin,
    Verification,
    fit_universal,
    load_universal,
    norms,
    save_universal,
    universal,
)
from voxcert.attacks.call_shape import NoGradientError

PERIOD = 40


class Periodic(torch.nn.Module):
    """Linear scores of the mean period: the best universal perturbation is a sign pattern, known in closed form."""

    def __init__(self):
        super().__init__()
        self.linear = Linear(3, PERIOD)

    def forward(self, waveform):
        """Scores waveforms (batch, time), time a multiple of the period."""
        return self.linear(waveform.unflatten(1, (-1, PERIOD)).mean(dim=1))


def utterances(num_batches=3, targets=None):
    waveforms = [speech_like(4, 5 * PERIOD, peak=0.3, seed=seed) for seed in range(num_batches)]
    labels = [Periodic()(waveform).argmax(dim=1) if targets is None else targets for waveform in waveforms]
    return list(zip(waveforms, labels, strict=True))


def test_a_perturbation_is_repeated_cyclically():
    perturbation = torch.tensor([0.1, 0.2, 0.3])
    attacked = universal(None, torch.zeros(2, 7), torch.tensor([0, 1]), perturbation=perturbation)
    expected = torch.tensor([0.1, 0.2, 0.3, 0.1, 0.2, 0.3, 0.1])
    torch.testing.assert_close(attacked, expected.expand(2, -1))
    shorter = universal(None, torch.zeros(2, 2), torch.tensor([0, 1]), perturbation=perturbation)
    torch.testing.assert_close(shorter, expected[:2].expand(2, -1))


def test_each_utterance_may_have_its_own_and_results_are_clipped():
    waveform = torch.tensor([[0.5, -0.95, 0.5], [0.95, 0.5, -0.5]])
    perturbation = torch.tensor([[0.1, -0.1], [0.2, 0.0]])
    attacked = universal(None, waveform, torch.tensor([0, 1]), perturbation=perturbation)
    torch.testing.assert_close(attacked, torch.tensor([[0.6, -1.0, 0.6], [1.0, 0.5, -0.3]]))


def test_the_fitted_perturbation_is_the_best_sign_pattern_of_a_linear_recognizer():
    """Two speakers: the margin falls by epsilon ||w_t - w_j||_1 at most, reached by epsilon sign(w_t - w_j)."""
    recognizer = Periodic()
    weights = recognizer.linear.weights.detach()[:2]
    fitted = fit_universal(
        lambda waveform: recognizer(waveform)[:, :2],
        utterances(targets=torch.zeros(4, dtype=torch.long)),
        epsilon=0.05,
        num_samples=PERIOD,
        kappa=10.0,
        targeted=True,
    )
    torch.testing.assert_close(fitted, 0.05 * (weights[0] - weights[1]).sign())


@pytest.mark.parametrize("targeted", [False, True])
def test_it_works_on_utterances_that_it_was_not_fitted_to(targeted):
    recognizer, objective = Periodic(), Margin()
    seen, unseen = utterances(4)[:3], utterances(5)[3:]
    if targeted:
        seen, unseen = ([(waveform, 0 * labels) for waveform, labels in part] for part in (seen, unseen))
    perturbation = fit_universal(recognizer, seen, epsilon=0.1, num_samples=PERIOD, epochs=20, targeted=targeted)
    assert perturbation.abs().max() <= 0.1
    before, after = [], []
    for waveform, labels in unseen:
        attacked = universal(recognizer, waveform, labels, perturbation=perturbation)
        assert norms(attacked - waveform, "linf").max() <= 0.1 + 1e-6
        before.append(objective.succeeded(recognizer(waveform), labels, targeted))
        after.append(objective.succeeded(recognizer(attacked), labels, targeted))
    assert torch.cat(after).float().mean() >= torch.cat(before).float().mean() + 0.4


def test_utterances_that_are_fooled_by_kappa_count_no_more():
    recognizer = Periodic()
    settings = {"epsilon": 0.5, "num_samples": PERIOD, "step_size": 0.01, "epochs": 100, "targeted": True}
    batches = utterances(1, targets=torch.zeros(4, dtype=torch.long))
    gentle, harsh = (fit_universal(recognizer, batches, kappa=kappa, **settings) for kappa in (0.05, 100.0))
    margins = []
    for perturbation in (gentle, harsh):
        (waveform, labels), *_ = batches
        scores = recognizer(universal(recognizer, waveform, labels, perturbation=perturbation))
        margins.append(Margin().margin(scores, labels, targeted=True).max())
    assert -0.3 < margins[0] <= -0.05
    assert margins[1] < -1


def test_objectives_other_than_identification_are_followed():
    recognizer, objective = Periodic(), Verification(threshold=0.2)
    batches = utterances(targets=torch.ones(4, dtype=torch.long))
    perturbation = fit_universal(
        recognizer, batches, epsilon=0.1, num_samples=PERIOD, objective=objective, targeted=True
    )
    for waveform, labels in batches:
        scores = recognizer(universal(recognizer, waveform, labels, perturbation=perturbation))
        assert objective.succeeded(scores, labels, targeted=True).all()


def test_a_saved_perturbation_is_an_attack_and_has_a_name_in_yaml(tmp_path):
    perturbation, path = torch.linspace(-0.1, 0.1, PERIOD), tmp_path / "uap.safetensors"
    save_universal(path, perturbation)
    waveform, labels = speech_like(2, 100), torch.tensor([0, 1])
    expected = universal(None, waveform, labels, perturbation=perturbation)
    assert torch.equal(load_universal(path)(None, waveform, labels), expected)
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("--attack", type=Attack)
    config = parser.parse_args(
        [f"--attack={{class_path: voxcert.attacks.load_universal, init_args: {{path: {path}}}}}"]
    )
    assert torch.equal(parser.instantiate(config).attack(None, waveform, labels), expected)


def test_files_that_are_no_perturbation_are_named(tmp_path):
    (tmp_path / "text").write_text("not a tensor")
    for path in (tmp_path / "absent", tmp_path / "text"):
        with pytest.raises(ValueError, match=f"path must be a file of save_universal, got {path}"):
            load_universal(path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epsilon": 0.0}, "epsilon and num_samples must be positive, got 0.0"),
        ({"epsilon": 0.1, "num_samples": 0}, "epsilon and num_samples must be positive, got 0.1 and 0"),
        ({"epsilon": 0.1, "epochs": 0}, "epochs must be at least 1, got 0"),
        ({"epsilon": 0.1, "step_size": 0.0}, "step_size must be positive or None, got 0"),
        ({"epsilon": 0.1, "step_size": -0.01}, "step_size must be positive or None, got -0.01"),
        ({"epsilon": 0.1, "kappa": -0.1}, "kappa must be at least 0, got -0.1"),
    ],
)
def test_settings_out_of_range_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        fit_universal(Periodic(), utterances(), **settings)


@pytest.mark.parametrize("shape", [(3, 7), (2, 2, 7), (0,), (2, 0), ()])
def test_a_perturbation_of_another_shape_is_named(shape):
    with pytest.raises(ValueError, match=r"perturbation must have shape \(samples,\) or \(2, samples\), got"):
        universal(None, torch.zeros(2, 7), torch.tensor([0, 1]), perturbation=torch.zeros(shape))


def test_batches_that_are_used_up_are_named():
    with pytest.raises(ValueError, match="at least one batch in every epoch, got none in epoch 1"):
        fit_universal(Periodic(), iter(utterances()), epsilon=0.1, num_samples=PERIOD)


def test_fitting_leaves_no_trace():
    recognizer = Periodic()
    recognizer.train()
    with torch.no_grad():
        fit_universal(recognizer, utterances(), epsilon=0.1, num_samples=PERIOD, epochs=1)
    assert recognizer.training
    assert all(parameter.grad is None for parameter in recognizer.parameters())


@pytest.mark.parametrize("frozen", [True, False])
def test_a_recognizer_without_gradients_is_named(frozen):
    recognizer = Periodic().requires_grad_(not frozen)
    with pytest.raises(NoGradientError, match="recognizer must be differentiable"):
        fit_universal(lambda waveform: recognizer(waveform.detach()), utterances(), epsilon=0.1, num_samples=PERIOD)
