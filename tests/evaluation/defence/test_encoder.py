import pytest
import torch
import yaml
from torch import nn

from voxcert.attacks import ExpectationOverTransformation
from voxcert.encoders.base import Recognizer
from voxcert.encoders.loading import encoder_hash
from voxcert.evaluation.defence.encoder import (
    DefendedEncoder,
    denoising,
    encoder_of,
    open_purifier,
    system_id,
)
from voxcert.purifiers import AddNoise, GaussianFilter, MedianFilter, Quantise
from voxcert.purifiers.base import TEXT_DIM, Purifier


class Scaled(Purifier):
    """Multiplies a waveform by the first number of its text."""

    def purify(self, waveform, text):
        """(batch, time) -> (batch, time)."""
        return waveform * (1 if text is None else text[:, :1])


def texts(*numbers):
    rows = torch.zeros(len(numbers), TEXT_DIM)
    rows[:, 0] = torch.tensor(numbers)
    return rows


def test_every_utterance_meets_its_own_text():
    waveform = torch.ones(2, 5)
    assert torch.equal(DefendedEncoder(Scaled(), nn.Identity())(waveform), waveform)
    defended = DefendedEncoder(Scaled(), nn.Identity(), texts(2.0, 3.0))
    assert defended(waveform)[:, 0].tolist() == [2, 3]
    assert defended(waveform.repeat(3, 1))[:, 0].tolist() == [2, 3] * 3  # as an expectation repeats a batch
    recognizer = Recognizer(defended, torch.eye(5), list("abcde"))
    for per_row in (True, False):
        assert ExpectationOverTransformation(recognizer, 4, per_row=per_row)(waveform)[:, 0].tolist() == [2, 3]


def test_opens_a_class_a_file_and_nothing_else(tmp_path):
    given = GaussianFilter(2.0)
    assert open_purifier(given) is given
    assert not given.training
    assert open_purifier(MedianFilter(7).config).kernel_size == 7
    path = tmp_path / "median.yaml"
    path.write_text(yaml.safe_dump(MedianFilter(7).config))
    found = open_purifier(path)
    assert isinstance(found, MedianFilter)
    assert (found.kernel_size, found.training) == (7, False)
    with pytest.raises(ValueError, match="purifier must be a folder or a YAML file that can be read, got .*none.yaml"):
        open_purifier(tmp_path / "none.yaml")
    with pytest.raises(ValueError, match="none is not the checkpoint folder of a purifier"):
        open_purifier(tmp_path / "none")
    path.write_text(yaml.safe_dump({"class_path": "os.system", "init_args": {}}))
    with pytest.raises(ValueError, match="class_path must be in voxcert.purifiers"):
        open_purifier(path)


def test_fresh_noise_cannot_be_certified():
    with pytest.raises(ValueError, match="purifier must have a seed here, .* got AddNoise with seed null"):
        denoising(AddNoise(0.01), 0.1)
    fixed = AddNoise(0.01, seed=1)
    assert denoising(fixed, 0.1) is fixed


def test_gradients_are_its_own_or_straight_through():
    waveform, direction = 0.3 * torch.randn(2, 50), torch.randn(2, 50)
    for purifier in (GaussianFilter(), Quantise(4)):
        start = waveform.clone().requires_grad_()
        output = DefendedEncoder(purifier, nn.Identity(), texts(1.0, 2.0))(start)
        assert torch.equal(output, purifier(waveform))
        (gradient,) = torch.autograd.grad(output, start, direction)
        own = direction if not purifier.differentiable else torch.func.vjp(purifier, waveform)[1](direction)[0]
        assert torch.allclose(gradient, own)


def test_a_system_is_named_by_both_hashes():
    assert system_id("0123", None) == "0123"
    name = system_id("0123", MedianFilter(3))
    assert name == f"0123+{encoder_hash(MedianFilter(3))}"
    assert name != system_id("0123", MedianFilter(5))
    assert encoder_of(name) == encoder_of("0123") == "0123"
