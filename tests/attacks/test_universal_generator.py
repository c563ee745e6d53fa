import pytest
import torch
from linear import Linear, speech_like

from voxcert.attacks import Margin, PerturbationGenerator, fit_generator, norms, universal
from voxcert.attacks.call_shape import NoGradientError
from voxcert.attacks.universal_generator import thresholded_loudness

PERIOD = 50
SMALL = {"num_blocks": 1, "noise_dim": 8, "channels": 32}
TARGETS = torch.zeros(8, dtype=torch.long)


class Periodic(torch.nn.Module):
    """Linear scores of the mean period, so that repeated perturbations can work."""

    def __init__(self):
        super().__init__()
        self.linear = Linear(3, PERIOD)

    def forward(self, waveform):
        """Scores waveforms (batch, time), time a multiple of the period."""
        return self.linear(waveform.unflatten(1, (-1, PERIOD)).mean(dim=1))


def batches(seeds):
    return [(speech_like(8, 5 * PERIOD, peak=0.3, seed=seed), TARGETS) for seed in seeds]


def fitted(**settings):
    torch.manual_seed(0)
    network, recognizer = PerturbationGenerator(**SMALL), Periodic()
    fit_generator(network, recognizer, batches(range(3)), **{"epochs": 30, "lr": 1e-2, "targeted": True} | settings)
    return network, recognizer


def test_the_published_size():
    network = PerturbationGenerator()
    assert network.num_samples == 3200
    block = 64 * 64 * 3 + 2 * 64
    assert sum(parameter.numel() for parameter in network.parameters()) == 101 * 64 * 25 + 7 * block + 64 * 3
    assert torch.equal(network(network.noise(2)), torch.zeros(2, 3200))


def test_draws_are_seeded_and_bounded():
    torch.manual_seed(0)
    network = PerturbationGenerator(**SMALL).eval()
    torch.nn.init.normal_(network.output.weight)
    state = torch.get_rng_state()
    draws = network.draw(3, 0.02)
    assert draws.shape == (3, PERIOD)
    assert draws.abs().max() == pytest.approx(0.02)
    assert torch.equal(draws, network.draw(3, 0.02))
    assert not torch.equal(draws, network.draw(3, 0.02, generator=torch.Generator().manual_seed(1)))
    assert torch.equal(state, torch.get_rng_state())


def test_draws_fool_the_recognizer_on_utterances_that_it_was_not_fitted_to():
    network, recognizer = fitted(loudness=10.0)
    assert not network.training
    perturbations = network.draw(8, 0.15)
    assert not torch.equal(perturbations[0], perturbations[1])
    for waveform, targets in batches([9, 10]):
        attacked = universal(recognizer, waveform, targets, perturbation=perturbations)
        assert norms(attacked - waveform, "linf").max() <= 0.15 + 1e-6
        before, after = (Margin().succeeded(recognizer(x), targets, targeted=True) for x in (waveform, attacked))
        assert before.float().mean() <= 0.25
        assert after.all()


def test_a_larger_weight_of_loudness_makes_quieter_perturbations():
    loud, quiet = (fitted(loudness=weight)[0].draw(8, 1.0).std() for weight in (10.0, 300.0))
    assert quiet < loud / 2


def test_fitting_gives_parameters_of_the_recognizer_no_gradient():
    _, recognizer = fitted(epochs=1)
    assert all(parameter.grad is None for parameter in recognizer.parameters())


def test_loudness_by_hand():
    perturbation = torch.tensor([[0.02, -0.04, 0.005, 0.0, 0.001]])
    loud, low = (0.02**2 + 0.04**2) / 2, (0.005**2 + 0.001**2) / 3
    assert thresholded_loudness(perturbation, 0.01).item() == pytest.approx(loud + 0.01 * low, rel=1e-5)
    assert thresholded_loudness(0 * perturbation, 0.01) == 0
    assert thresholded_loudness(perturbation, 1.0).item() == pytest.approx(0.01 * perturbation.square().mean().item())


def test_a_negative_margin_is_named():
    with pytest.raises(ValueError, match=r"kappa must be at least 0, got -0\.1"):
        fit_generator(PerturbationGenerator(**SMALL), Periodic(), batches([0]), kappa=-0.1)


@pytest.mark.parametrize("frozen", [True, False])
def test_a_recognizer_without_gradients_is_named(frozen):
    network, recognizer = PerturbationGenerator(**SMALL), Periodic().requires_grad_(not frozen)
    before = [parameter.clone() for parameter in network.parameters()]
    with pytest.raises(NoGradientError, match="recognizer must be differentiable"):
        fit_generator(network, lambda waveform: recognizer(waveform.detach()), batches([0]), epochs=1)
    assert all(map(torch.equal, network.parameters(), before))


def test_the_first_step_is_against_the_gradient_of_the_whole_loss():
    """The first step of Adam is lr against the sign of the gradient, here that of the loss in one expression."""
    torch.manual_seed(0)
    network, recognizer, generator = PerturbationGenerator(**SMALL), Periodic(), torch.Generator().manual_seed(0)
    torch.nn.init.normal_(network.output.weight)
    ((waveform, targets),) = batches([0])
    weight = network.output.weight
    before = weight.detach().clone()
    perturbation = network.train()(network.noise(8, generator))
    margin = Margin().margin(recognizer(waveform + perturbation.repeat(1, 5)), targets, True)
    loss = (margin + 0.1).clamp(min=0).mean() + 10 * thresholded_loudness(perturbation, 0.01)
    (gradient,) = torch.autograd.grad(loss, weight)
    fit_generator(network, recognizer, [(waveform, targets)], epochs=1, lr=1e-3, loudness=10.0, targeted=True)
    torch.testing.assert_close(weight.detach() - before, -1e-3 * gradient.sign(), rtol=1e-3, atol=1e-7)
