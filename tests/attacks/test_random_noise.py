"""Noise as a control: of the right size, Gaussian, from its seed, and in the range of a waveform."""

import pytest
import torch
from scipy.stats import kstest, norm

from voxcert.attacks import norms, random_noise


@pytest.fixture
def silence():
    return torch.zeros(3, 20_000), torch.tensor([0, 1, 2])


@pytest.mark.parametrize("kind", ["l2", "linf"])
def test_the_whole_budget_is_spent(silence, kind):
    waveform, labels = silence
    epsilon = torch.tensor([0.5, 0.1, 0.0])
    noisy = random_noise(None, waveform, labels, epsilon=epsilon, norm=kind)
    torch.testing.assert_close(norms(noisy, kind), epsilon)


def test_samples_are_gaussian(silence):
    samples = random_noise(None, *silence, epsilon=2.0)[0] * 20_000**0.5 / 2.0
    assert kstest(samples.numpy(), norm.cdf).pvalue > 1e-3


def test_noise_is_that_of_its_generator(silence):
    drawn = [random_noise(None, *silence, epsilon=1.0, generator=torch.Generator().manual_seed(s)) for s in (1, 1, 2)]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert torch.equal(random_noise(None, *silence, epsilon=1.0), random_noise(epsilon=1.0)(None, *silence))


def test_a_waveform_stays_in_its_range():
    loud = torch.ones(1, 1000)
    noisy = random_noise(None, loud, torch.tensor([0]), epsilon=0.5, norm="linf")
    assert noisy.abs().max() <= 1
    assert norms(noisy - loud, "linf") == pytest.approx(0.5)
