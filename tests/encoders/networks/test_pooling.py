import pytest
import torch

from voxcert.encoders.networks.pooling import StatisticsPooling, require_frames


def test_means_then_standard_deviations_of_every_band():
    x = torch.tensor([[[[1.0, 3.0], [0.0, 4.0]], [[5.0, 5.0], [-1.0, 1.0]]]])  # (1, 2 channels, 2 bands, 2 frames)
    pooled = StatisticsPooling()(x)
    expected = torch.tensor([[2.0, 2.0, 5.0, 0.0, 2**0.5, 8**0.5, 1e-7**0.5, 2**0.5]])
    torch.testing.assert_close(pooled, expected, atol=1e-6, rtol=0)


def test_autocast_keeps_the_digits_of_the_variance():
    x = (100 + torch.randn(2, 3, 50, generator=torch.Generator().manual_seed(0))).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        pooled = StatisticsPooling()(x)
    assert pooled.dtype == torch.float32
    torch.testing.assert_close(pooled, StatisticsPooling()(x.float()), atol=0, rtol=0)


def test_constant_frames_have_a_finite_gradient():
    x = torch.ones(1, 2, 5, requires_grad=True)
    StatisticsPooling()(x).sum().backward()
    assert torch.isfinite(x.grad).all()


def test_too_few_frames_are_counted():
    require_frames(torch.zeros(1, 9, 80), 9)
    with pytest.raises(ValueError, match="features must have at least 9 frames, got 8"):
        require_frames(torch.zeros(1, 8, 80), 9)
