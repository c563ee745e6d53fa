"""The same attacks as the Adversarial Robustness Toolbox makes, on a small network."""

import warnings

import pytest
import torch
from linear import speech_like
from torch import nn

from voxcert.attacks import CrossEntropy, Margin, carlini_wagner, norms, pgd

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the toolbox imports more than is there
    evasion = pytest.importorskip("art.attacks.evasion", reason="needs adversarial-robustness-toolbox")
    from art.estimators.classification import PyTorchClassifier

TIME, SPEAKERS = 64, 4


@pytest.fixture
def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(TIME, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, SPEAKERS)).eval()


@pytest.fixture
def classifier(network):
    return PyTorchClassifier(
        network, nn.CrossEntropyLoss(), (TIME,), SPEAKERS, clip_values=(-1.0, 1.0), device_type="cpu"
    )


@pytest.fixture
def batch(network):
    waveform = speech_like(6, TIME, peak=0.9)
    return waveform, network(waveform).argmax(dim=1)


@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize(("norm", "order", "epsilon"), [("linf", "inf", 0.05), ("l2", 2, 0.4)])
def test_pgd_takes_the_same_path(network, classifier, batch, norm, order, epsilon, targeted):
    waveform, labels = batch
    labels = (labels + 1) % SPEAKERS if targeted else labels
    theirs = evasion.ProjectedGradientDescentPyTorch(
        classifier, order, epsilon, epsilon / 4, max_iter=10, targeted=targeted, verbose=False
    ).generate(waveform.numpy(), labels.numpy())
    ours = pgd(
        network,
        waveform,
        labels,
        epsilon=epsilon,
        norm=norm,
        step_size=epsilon / 4,
        steps=10,
        random_start=False,
        objective=CrossEntropy(scale=1),
        targeted=targeted,
    )
    torch.testing.assert_close(ours, torch.from_numpy(theirs), rtol=0, atol=1e-5)


def test_carlini_wagner_finds_perturbations_of_the_same_size(network, classifier, batch):
    waveform, labels = batch
    targets = (labels + 1) % SPEAKERS
    theirs = evasion.CarliniL2Method(
        classifier,
        targeted=True,
        max_iter=30,
        binary_search_steps=4,
        initial_const=10.0,
        max_halving=3,
        max_doubling=3,
        batch_size=len(waveform),
        verbose=False,
    ).generate(waveform.numpy(), targets.numpy())
    ours = carlini_wagner(
        network, waveform, targets, targeted=True, steps=100, search_steps=6, initial_const=1.0, lr=3e-3
    )
    for adversarial in (ours, torch.from_numpy(theirs)):
        assert Margin().succeeded(network(adversarial), targets, targeted=True).all()
    sizes = [norms(adversarial - waveform, "l2") for adversarial in (ours, torch.from_numpy(theirs))]
    torch.testing.assert_close(sizes[0], sizes[1], rtol=0.1, atol=0)
