import math

import pytest
import torch

from voxcert.training.noise import Fixed, LogUniform, Uniform


def test_every_example_gets_its_own_sigma():
    torch.manual_seed(0)
    noisy = Uniform(0.1, 0.9).add_noise(torch.zeros(8, 100_000))
    sigma = noisy.std(dim=1)
    assert sigma.min() > 0.09
    assert sigma.max() < 0.91
    assert len(set(sigma.round(decimals=2).tolist())) > 4


def test_fixed_is_fixed():
    torch.manual_seed(0)
    sigma = Fixed(0.3).add_noise(torch.zeros(4, 100_000)).std(dim=1)
    torch.testing.assert_close(sigma, torch.full((4,), 0.3), atol=0.003, rtol=0)


def test_distributions_have_their_quantiles():
    torch.manual_seed(0)
    device = torch.device("cpu")
    uniform = Uniform(0.0, 0.2).sample(20_000, device)
    assert uniform.median() == pytest.approx(0.1, abs=0.003)
    log_uniform = LogUniform(0.001, 0.1).sample(20_000, device)
    assert log_uniform.median() == pytest.approx(0.01, rel=0.05)
    assert log_uniform.min() >= 0.001
    assert log_uniform.max() <= 0.1


@pytest.mark.parametrize("sigma", [0, -1, math.nan, math.inf])
def test_sigma_must_be_positive(sigma):
    with pytest.raises(ValueError, match="sigma must be positive and finite, got"):
        Fixed(sigma)


def test_bounds_must_be_in_order():
    with pytest.raises(ValueError, match="0 <= low < high < inf, got low=0.2, high=0.1"):
        Uniform(0.2, 0.1)
    with pytest.raises(ValueError, match="0 < low < high < inf, got low=0, high=0.1"):
        LogUniform(0, 0.1)
    for kind in (Uniform, LogUniform):
        with pytest.raises(ValueError, match="< inf, got low=0.1, high=inf"):
            kind(0.1, math.inf)
    with pytest.raises(ValueError, match="0 < low < high < inf"):
        LogUniform(0.1, 0.1)
