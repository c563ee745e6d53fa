import warnings

import pytest
import torch
from linear import Linear, speech_like

from voxcert.attacks import (
    ExpectationOverNoise,
    GradientWarning,
    StraightThrough,
    Verification,
    check_gradients,
)


@pytest.fixture
def batch():
    return speech_like(4, 300), torch.tensor([0, 1, 2, 0])


LINEAR = Linear(3, 300)


def quantised(waveform):
    return LINEAR((waveform * 8).round() / 8)


@pytest.mark.parametrize(
    ("recognizer", "finding"),
    [
        (lambda waveform: LINEAR(waveform + 0.1 * torch.randn_like(waveform)), r"is randomised \(two passes differ\)"),
        (ExpectationOverNoise(LINEAR, 0.1, 2), r"is randomised \(two passes differ\)"),
        (lambda waveform: LINEAR(waveform.detach()), "has no gradient"),
        (lambda waveform: LINEAR(waveform.detach()).detach(), "has no gradient"),
        (quantised, r"has gradients of zero.*\(4 of 4 waveforms\)"),
        (lambda waveform: LINEAR(waveform + 1e-9 * waveform.sqrt()), "has gradients that are not finite"),
        (lambda waveform: (LINEAR(waveform) * 1e-8 + 1) * LINEAR(waveform.detach()), "has vanishing gradients"),
        (lambda waveform: LINEAR(waveform + 0.3 * (1e6 * waveform).sin()), "has gradients that lead nowhere"),
    ],
)
def test_defences_that_mislead_gradients_are_named(batch, recognizer, finding):
    with pytest.warns(GradientWarning, match=finding):
        check_gradients(recognizer, *batch)


@pytest.mark.parametrize(
    "recognizer",
    [
        LINEAR,
        lambda waveform: LINEAR(StraightThrough(lambda inner: (inner * 64).round() / 64)(waveform)),
        ExpectationOverNoise(LINEAR, 0.1, 8, fresh=False),
    ],
)
@pytest.mark.parametrize("targeted", [False, True])
def test_honest_gradients_pass_in_silence(batch, recognizer, targeted):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_gradients(recognizer, *batch, targeted=targeted)
        check_gradients(recognizer, *batch, targeted=targeted, objective=Verification(0.1))


def test_the_check_leaves_no_trace(batch):
    waveform, labels = batch
    before = waveform.clone()
    with torch.inference_mode():
        check_gradients(LINEAR, waveform, labels)
    assert torch.equal(waveform, before)
    assert not waveform.requires_grad
    assert LINEAR.weights.grad is None
