import copy
import math
import pickle

import pytest
import torch
from linear import Linear, speech_like
from torch import nn

from voxcert.attacks import (
    CrossEntropy,
    ExpectationOverNoise,
    ExpectationOverTransformation,
    Margin,
    StraightThrough,
    pgd,
)


class Quadratic(nn.Module):
    """scores_k = waveform' A_k waveform; under noise the mean is this plus sigma^2 trace(A_k)."""

    def __init__(self, num_speakers, time):
        super().__init__()
        draws = torch.randn(num_speakers, time, time, generator=torch.Generator().manual_seed(2)) / time
        self.matrices = nn.Parameter((draws + draws.mT) / 2)

    def forward(self, waveform):
        """Scores waveforms (batch, time)."""
        return torch.einsum("bi,kij,bj->bk", waveform, self.matrices, waveform)


def gradient_of(recognizer, waveform, weights):
    waveform = waveform.clone().requires_grad_()
    scores = recognizer(waveform)
    (gradient,) = torch.autograd.grad((scores * weights).sum(), waveform)
    return scores.detach(), gradient


@pytest.fixture
def waveform():
    return speech_like(2, 12)


def test_mean_scores_of_a_quadratic_recognizer_have_their_closed_form(waveform):
    recognizer, sigma, weights = Quadratic(3, 12), 0.3, torch.tensor([1.0, -2.0, 0.5])
    scores, gradient = gradient_of(ExpectationOverNoise(recognizer, sigma, 5_000), waveform, weights)
    traces = recognizer.matrices.diagonal(dim1=1, dim2=2).sum(dim=1)
    torch.testing.assert_close(scores, recognizer(waveform) + sigma**2 * traces, rtol=0, atol=0.01)
    expected = 2 * torch.einsum("k,kij,bj->bi", weights, recognizer.matrices, waveform)
    torch.testing.assert_close(gradient, expected, rtol=0, atol=0.03)


def test_the_gradient_of_a_linear_recognizer_is_exact_whatever_the_noise(waveform):
    recognizer, weights = Linear(3, 12), torch.tensor([1.0, -2.0, 0.5])
    _, gradient = gradient_of(ExpectationOverNoise(recognizer, 0.5, 7), waveform, weights)
    torch.testing.assert_close(gradient, (weights @ recognizer.weights).expand(2, -1))


def test_softened_votes_of_two_speakers_tend_to_the_gaussian_distribution_function(waveform):
    """With a large scale the mean probability is P(w'(x + noise) > 0) = Phi(w'x / (sigma ||w||))."""
    recognizer, sigma = Linear(2, 12), 0.2
    voted = ExpectationOverNoise(recognizer, sigma, 5_000, scale=1e4)(waveform).exp()
    lead = recognizer(waveform) @ torch.tensor([1.0, -1.0])
    expected = torch.special.ndtr(lead / (sigma * math.sqrt(2)))
    torch.testing.assert_close(voted, torch.stack([expected, 1 - expected], dim=1), rtol=0, atol=0.025)


def test_softened_votes_are_log_mean_probabilities_and_survive_underflow(waveform):
    recognizer, heard = Linear(3, 12), []
    expectation = ExpectationOverNoise(lambda noisy: heard.append(noisy) or recognizer(noisy), 0.1, 5, scale=20.0)
    scores = expectation(waveform)
    (noisy,) = heard
    assert (noisy - waveform.repeat(5, 1)).std() == pytest.approx(0.1, rel=0.3)
    probabilities = (20 * recognizer(noisy)).softmax(dim=-1).view(5, 2, 3).mean(dim=0)
    torch.testing.assert_close(scores, probabilities.log())
    labels = torch.tensor([0, 1])
    loss = CrossEntropy(scale=1).loss(scores, labels, targeted=True)
    torch.testing.assert_close(loss, -probabilities[[0, 1], labels].log())
    assert ExpectationOverNoise(recognizer, 0.1, 5, scale=1e4)(waveform).isfinite().all()


def random_defence(waveform):
    return Quadratic(3, 12)(waveform * (1 + 0.1 * torch.randn_like(waveform)))


@pytest.mark.parametrize("scale", [None, 5.0])
@pytest.mark.parametrize(
    "make",
    [
        lambda **settings: ExpectationOverNoise(Quadratic(3, 12), 0.3, 10, **settings),
        lambda **settings: ExpectationOverTransformation(random_defence, 10, **settings),
        lambda **settings: ExpectationOverTransformation(random_defence, 10, per_row=True, **settings),
    ],
)
def test_chunks_computed_again_give_the_gradient_of_the_scores_returned(waveform, make, scale):
    """Central differences of the fixed function: a chunk that drew other noise for its gradient would show."""
    expectation = make(scale=scale, fresh=False, batch_size=6)
    weights, direction = torch.tensor([1.0, -2.0, 0.5]), speech_like(2, 12, seed=5)
    _, gradient = gradient_of(expectation, waveform, weights)
    step = 1e-2
    ahead, behind = ((expectation(waveform + sign * step * direction) * weights).sum() for sign in (1, -1))
    torch.testing.assert_close((gradient * direction).sum(), (ahead - behind) / (2 * step), rtol=0.01, atol=1e-4)


def test_noise_does_not_depend_on_the_chunks(waveform):
    small, large = (ExpectationOverNoise(Quadratic(3, 12), 0.3, 10, batch_size=size) for size in (1, 64))
    weights = torch.tensor([1.0, -2.0, 0.5])
    for _ in range(2):
        torch.testing.assert_close(gradient_of(small, waveform, weights), gradient_of(large, waveform, weights))


def test_rows_in_the_recognizer_stay_within_the_batch_size(waveform):
    rows, quadratic = [], Quadratic(3, 12)

    def recognizer(waveform):
        rows.append(len(waveform))
        return quadratic(waveform)

    gradient_of(ExpectationOverNoise(recognizer, 0.3, 10, batch_size=6), waveform, torch.ones(3))
    assert max(rows) == 6
    assert sum(rows) == 2 * 20  # every draw once forward, once more for its gradient


@pytest.mark.parametrize(("per_row", "calls"), [(False, 5), (True, 2)])
def test_a_defence_may_draw_once_for_a_whole_batch(waveform, per_row, calls):
    """One number for all rows: copies that go through together share it."""
    drawn = []

    def one_number(waveform):
        drawn.append(torch.rand(()).item())
        return drawn[-1] + Quadratic(3, 12)(waveform)

    scores = ExpectationOverTransformation(one_number, 5, per_row=per_row, batch_size=6)(waveform)
    assert len(set(drawn)) == calls
    weights = torch.tensor([3, 2] if per_row else [1] * 5) / 5
    mean = (weights * torch.tensor(drawn)).sum()
    torch.testing.assert_close(scores, mean + Quadratic(3, 12)(waveform))


@pytest.mark.parametrize("fresh", [True, False])
def test_draws_are_fresh_or_fixed_and_seeded(waveform, fresh):
    for make in (
        lambda seed: ExpectationOverNoise(Quadratic(3, 12), 0.3, 3, fresh=fresh, seed=seed),
        lambda seed: ExpectationOverTransformation(random_defence, 3, fresh=fresh, seed=seed),
    ):
        expectation = make(0)
        first, second = expectation(waveform), expectation(waveform)
        assert torch.equal(first, second) != fresh
        assert torch.equal(first, make(0)(waveform))
        assert not torch.equal(first, make(1)(waveform))


def test_global_generators_are_as_before(waveform):
    state = torch.get_rng_state()
    ExpectationOverTransformation(random_defence, 3)(waveform)
    ExpectationOverNoise(Quadratic(3, 12), 0.3, 3)(waveform)
    assert torch.equal(state, torch.get_rng_state())


def test_expectations_can_be_copied_and_pickled(waveform):
    expectation = ExpectationOverNoise(Quadratic(3, 12), 0.3, 3)
    twins = [copy.deepcopy(expectation), pickle.loads(pickle.dumps(expectation))]
    expected = expectation(waveform)
    for twin in twins:
        torch.testing.assert_close(twin(waveform), expected)


def test_an_attack_on_the_mean_beats_the_noise():
    """One noisy gradient of these scores points anywhere; their mean is linear."""
    linear = Linear(2, 200)
    waveform, labels = speech_like(3, 200), torch.tensor([0, 0, 0])

    def noisy(waveform):
        noise = torch.randn(waveform.shape)
        return linear(waveform + 20 * noise * waveform)

    mean = ExpectationOverTransformation(noisy, 400, batch_size=1200)
    settings = {"epsilon": 0.5, "norm": "l2", "steps": 5, "random_start": False}
    adaptive = Margin().margin(linear(pgd(mean, waveform, labels, **settings)), labels, False)
    torch.manual_seed(0)
    naive = Margin().margin(linear(pgd(noisy, waveform, labels, **settings)), labels, False)
    best = Margin().margin(linear(pgd(linear, waveform, labels, **settings)), labels, False)
    assert (adaptive < naive).all()
    assert (adaptive - best < 0.5 * (naive - best)).all()


def test_straight_through_is_the_step_forward_and_the_surrogate_backward(waveform):
    def step(waveform):
        return (waveform * 8).round() / 8

    output, gradient = gradient_of(StraightThrough(step), waveform, 3.0)
    assert torch.equal(output, step(waveform))
    assert torch.equal(gradient, torch.full_like(waveform, 3.0))
    output, gradient = gradient_of(StraightThrough(step, surrogate=torch.tanh), waveform, 1.0)
    assert torch.equal(output, step(waveform))
    torch.testing.assert_close(gradient, 1 - waveform.tanh() ** 2)


def test_an_attack_passes_through_a_step_without_gradient():
    linear = Linear(2, 200)
    waveform, labels = speech_like(3, 200), torch.tensor([0, 0, 0])
    defended = nn.Sequential(StraightThrough(lambda waveform: (waveform * 64).round() / 64), linear)
    adversarial = pgd(defended, waveform, labels, epsilon=2.0, norm="l2")
    assert Margin().succeeded(defended(adversarial), labels, targeted=False).all()


def test_a_step_that_changes_the_shape_is_named(waveform):
    with pytest.raises(ValueError, match=r"step must keep the shape .*\(2, 12\), got \(2, 11\)"):
        StraightThrough(lambda waveform: waveform[:, 1:])(waveform)


@pytest.mark.parametrize(
    ("arguments", "settings", "message"),
    [
        ((-0.1, 3), {}, "sigma must be at least 0 and finite, got -0.1"),
        ((0.1, 0), {}, "counts must be at least 1, got 0 samples"),
        ((0.1, 3), {"batch_size": 0}, "counts must be at least 1, got .* batch_size=0"),
        ((0.1, 3), {"scale": 0.0}, "scale must be positive or None, got 0.0"),
    ],
)
def test_wrong_settings_are_named(arguments, settings, message):
    with pytest.raises(ValueError, match=message):
        ExpectationOverNoise(Linear(3, 12), *arguments, **settings)
