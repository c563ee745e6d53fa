import pytest
import torch

from voxcert.attacks.inversion.descent import Descent, invert
from voxcert.attacks.inversion.starts import Constant
from voxcert.encoders.sincnet import SincNet
from voxcert.evaluation.inversion.settings import Experiment, InversionSettings
from voxcert.evaluation.inversion.system import NOBODY, InvertedSystem

CHUNKS = 0.1 * torch.randn(3, 640, generator=torch.Generator().manual_seed(0))


def system(num_classes=4, **defence):
    torch.manual_seed(0)
    network = SincNet(num_classes, chunk_samples=640, num_filters=4, channels=4, dim=8).eval()
    network.dnn2.wx[0].weight.data.mul_(30)
    experiment = Experiment("zeros", "d_vector", Constant(0), 1.0)
    return InvertedSystem(network, InversionSettings("unused", [experiment], **defence))


def gradient(model):
    points = CHUNKS.clone().requires_grad_()
    return torch.autograd.grad(model(points)[:, 1].sum(), points)[0]


def test_without_a_defence_everybody_sees_the_network():
    open_system = system()
    expected = open_system.network.log_posteriors(CHUNKS)
    assert torch.equal(open_system.descended(CHUNKS), expected)
    assert torch.allclose(open_system.released(CHUNKS), expected.exp())
    d_vectors = open_system.network.d_vectors(CHUNKS)
    assert torch.allclose(open_system.released(d_vectors, d_vectors=True), expected.exp(), atol=1e-6)


def test_rounded_posteriors_have_the_gradient_of_the_network():
    rounded = system(round_digits=1)
    exact = rounded.network.log_posteriors(CHUNKS).exp()
    assert torch.allclose(rounded.released(CHUNKS), (10 * exact).round() / 10, atol=1e-6)
    assert torch.allclose(rounded.descended(CHUNKS).exp(), ((10 * exact).round() / 10).clamp_min(0.05), atol=1e-6)
    models = rounded.descended, rounded.network.log_posteriors
    costs = [gradient(lambda points, model=model: 1 - model(points).exp()) for model in models]
    torch.testing.assert_close(*costs)


def test_rounding_does_not_hide_voices_from_who_looks_through_it():
    """Every start is rounded to 0 for its target; the published cost descends all the same."""
    rounded = system(40, round_digits=1)
    start, targets = torch.zeros(3, 8), torch.tensor([3, 17, 31])
    assert (rounded.released(start, d_vectors=True).gather(1, targets[:, None]) == 0).all()
    descent = Descent(step_size=10.0, steps=100, patience=101)  # the cost is flat at first: patience
    found = invert(lambda points: rounded.descended(points, d_vectors=True), start, targets, descent)
    assert torch.equal(rounded.released(found.points, d_vectors=True).argmax(dim=-1), targets)


def test_a_tie_names_nobody():
    posteriors = torch.tensor([[0.1, 0.2, 0.0], [0.3, 0.3, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.9]])
    for one in (system(3), system(3, round_digits=1)):
        assert one.named(posteriors[:, None]).tolist() == [1, NOBODY, NOBODY, 2]
        assert one.named(posteriors[:2]) == 1
        assert one.named(posteriors[1:3]) == NOBODY


def test_a_tie_of_rounded_posteriors_is_one_whatever_float32_makes_of_their_sums():
    posteriors = torch.tensor([[0.1, 0.3], [0.2, 0.2], [0.6, 0.4]])
    assert posteriors.mean(dim=0).unique().numel() == 2
    assert system(2, round_digits=1).named(posteriors) == NOBODY
    assert system(2, round_digits=1).named(posteriors[1:]) == 0


def test_noise_begins_anew_with_every_key():
    noisy = system(posterior_noise=0.5)
    noisy.reseed("bob")
    one = noisy.released(CHUNKS)
    noisy.reseed("bob")
    assert torch.equal(noisy.released(CHUNKS), one)
    noisy.reseed("ann")
    assert not torch.equal(noisy.released(CHUNKS), one)


def test_noisy_posteriors_sum_to_one_and_differ_from_call_to_call():
    noisy = system(posterior_noise=0.5)
    first, second = noisy.released(CHUNKS), noisy.released(CHUNKS)
    assert torch.allclose(first.sum(dim=-1), torch.ones(3))
    assert not torch.equal(first, second)
    assert (first >= noisy.network.log_posteriors(CHUNKS).exp() / 3 - 1e-6).all()  # the sum is at most 1 + 4 * 0.5


def test_smoothing_decides_alike_every_time_and_is_attacked_under_fresh_noise():
    smoothed = system(sigma=0.05, num_noise=2, num_eval=4)
    assert torch.equal(smoothed.released(CHUNKS), smoothed.released(CHUNKS))
    assert not torch.equal(smoothed.descended(CHUNKS), smoothed.descended(CHUNKS))
    assert gradient(smoothed.descended).abs().sum() > 0


@pytest.mark.parametrize("defence", [{"round_digits": 1}, {"posterior_noise": 0.5}, {"sigma": 0.05}])
def test_who_holds_the_weights_descends_the_network(defence):
    held = system(access="weights", **defence)
    assert torch.equal(held.descended(CHUNKS), held.network.log_posteriors(CHUNKS))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"experiments": []}, "experiments must be one or more of different name or method"),
        ({"posterior_noise": -0.1}, "posterior_noise must be at least 0 and finite, got -0.1"),
        ({"sigma": 0.0}, "sigma must be above 0 or null, got 0.0"),
        ({"access": "all"}, "access must be one of released, weights, got 'all'"),
        ({"stride": 0}, "stride must be at least 1, got 0"),
        ({"threshold": -1.0}, "threshold must be at least 0, got -1.0"),
    ],
)
def test_bad_settings(change, message):
    experiment = Experiment("zeros", "sliding", Constant(0), 1.0)
    with pytest.raises(ValueError, match=message):
        InversionSettings(**{"output_dir": "unused", "experiments": [experiment]} | change)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (("a/b", "sliding", 1.0), "name must be usable as that of a folder, got 'a/b'"),
        (("zeros", "slow", 1.0), "method must be one of standard, sliding, d_vector, got 'slow'"),
        (("zeros", "sliding", 0.0), "step_size must be above 0, got 0.0"),
    ],
)
def test_bad_experiments(values, message):
    name, method, step_size = values
    with pytest.raises(ValueError, match=message):
        Experiment(name, method, Constant(0), step_size)
