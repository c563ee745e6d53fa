import math

import pytest
import torch
from linear import speech_like

from voxcert.attacks import epsilon_at_snr, from_int16, norms, project, snr_at_epsilon
from voxcert.attacks.budgets import steepest, uniform


def test_norms_by_hand():
    perturbation = torch.tensor([[3.0, -4.0], [0.0, 0.5]])
    assert norms(perturbation, "l2").tolist() == [5.0, 0.5]
    assert norms(perturbation, "linf").tolist() == [4.0, 0.5]


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("epsilon", [0.003, torch.tensor([0.5, 1e-4, 0.0])])
def test_projection_ends_on_the_ball(norm, epsilon):
    center = speech_like(3, 1000)
    outside = center + torch.randn(3, 1000, generator=torch.Generator().manual_seed(0))
    budget = torch.as_tensor(epsilon).expand(3)
    found = norms(project(outside, center, epsilon, norm) - center, norm)
    torch.testing.assert_close(found, budget, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_projection_keeps_what_is_inside(norm):
    center = speech_like(3, 1000)
    inside = center + 1e-4 * torch.ones_like(center)
    torch.testing.assert_close(project(inside, center, 0.1, norm), inside, rtol=0, atol=1e-7)


def test_l2_projection_is_the_nearest_point():
    center, epsilon = torch.zeros(1, 3), 0.5
    outside = torch.tensor([[0.9, -0.3, 0.6]])
    found = project(outside, center, epsilon, "l2")
    torch.testing.assert_close(found, outside * epsilon / outside.norm())


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_clipping_stays_in_the_ball(norm):
    center = torch.tensor([[1.0, -1.0, 0.99, 0.0]])
    projected = project(center + torch.tensor([[0.3, -0.3, 0.3, 0.3]]), center, 0.1, norm)
    assert projected.abs().max() <= 1
    assert norms(projected - center, norm) <= 0.1 * (1 + 1e-6)
    assert projected[0, 3] == pytest.approx(0.1 if norm == "linf" else 0.1 * 0.3 / (0.3**2 + 0.01**2) ** 0.5)


def test_steepest_direction_has_unit_norm_whatever_the_scale():
    gradient = torch.tensor([[3e-30, -4e-30], [3e30, -4e30], [0.0, 0.0]])
    unit = torch.tensor([[0.6, -0.8], [0.6, -0.8], [0.0, 0.0]])
    torch.testing.assert_close(steepest(gradient, "l2"), unit)
    torch.testing.assert_close(steepest(gradient, "linf"), unit.sign())


@pytest.mark.parametrize(("norm", "median"), [("l2", 0.5 ** (1 / 3)), ("linf", None)])
def test_uniform_fills_the_ball(norm, median):
    center = torch.zeros(4000, 3)
    points = uniform(center, 0.2, norm, torch.Generator().manual_seed(0))
    radii = norms(points, norm) / 0.2
    assert radii.max() <= 1 + 1e-6
    # Radii of uniform points have the distribution function r^3 in three dimensions, in either norm.
    assert radii.median().item() == pytest.approx(median or 0.5 ** (1 / 3), abs=0.02)
    assert points.mean(dim=0).abs().max() < 0.01


def test_uniform_clips_to_the_range_of_waveforms():
    points = uniform(torch.ones(50, 4), 0.2, "linf", torch.Generator().manual_seed(0))
    assert points.max() == 1
    assert points.min() >= 0.8


def test_snr_and_epsilon_are_inverse():
    waveform = speech_like(3, 4000)
    epsilon = epsilon_at_snr(waveform, 40.0)
    torch.testing.assert_close(epsilon, waveform.norm(dim=1) / 100)
    torch.testing.assert_close(snr_at_epsilon(waveform, epsilon), torch.full((3,), 40.0))
    assert snr_at_epsilon(waveform, norms(torch.zeros_like(waveform), "l2")).tolist() == [math.inf] * 3


def test_budgets_of_the_tdap_paper():
    assert from_int16(30) == pytest.approx(9.16e-4, rel=1e-3)
    assert from_int16(6400) == pytest.approx(0.195, rel=2e-3)


@pytest.mark.parametrize(
    ("epsilon", "norm", "message"),
    [
        (-0.1, "l2", "epsilon must be at least 0, got -0.1"),
        (math.nan, "l2", "epsilon must be at least 0, got nan"),
        (torch.ones(2), "l2", r"epsilon must be a number or have shape \(3,\), got \(2,\)"),
        (torch.ones(3, 1), "linf", r"epsilon must be a number or have shape \(3,\), got \(3, 1\)"),
        (0.1, "l1", "norm must be one of linf, l2, got 'l1'"),
    ],
)
def test_wrong_budgets_are_named(epsilon, norm, message):
    with pytest.raises(ValueError, match=message):
        project(torch.zeros(3, 8), torch.zeros(3, 8), epsilon, norm)
