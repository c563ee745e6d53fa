import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler

from voxcert.purifiers.schedule import PurificationScheduler, reverse_coefficients

CDIFFUSE = {"beta_end": 0.035, "fast_betas": (1e-4, 1e-3, 0.01, 0.05, 0.2, 0.35)}
SCHEDULES = [{}, CDIFFUSE, {"conditional": False}]


def marginals(alpha_bar, conditional=True):
    """Mean's shares of x_0 and y, and variance, of eq. (3) with m clipped; index 0 is the clean end."""
    a = np.concatenate([[1.0], alpha_bar])
    m = np.minimum(1, np.sqrt((1 - a) / np.sqrt(a))) * conditional
    return np.sqrt(a) * (1 - m), np.sqrt(a) * m, (1 - a) - m**2 * a


def direct_posterior(alpha_bar, index, clean, noisy, sample, conditional):
    """Mean and variance of x_{t-1} given x_t, as a product of two Gaussians; `index` counts from 1."""
    of_clean, of_noisy, variance = marginals(alpha_bar, conditional)
    before, now = index - 1, index
    root = np.sqrt(of_clean + of_noisy) ** 2  # sqrt(abar)
    if of_clean[before] > 1e-12:
        scale = of_clean[now] / of_clean[before]
    else:  # m is 1 on both sides
        scale = root[now] / root[before]
    shift = (of_noisy[now] - scale * of_noisy[before]) * noisy
    kernel = variance[now] - scale**2 * variance[before]
    prior = of_clean[before] * clean + of_noisy[before] * noisy
    if variance[before] < 1e-15:
        return prior, 0.0
    precision = 1 / variance[before] + scale**2 / kernel
    return (prior / variance[before] + scale * (sample - shift) / kernel) / precision, 1 / precision


@pytest.mark.parametrize("settings", SCHEDULES)
@pytest.mark.parametrize("steps", ["full", "fast"])
def test_reverse_steps_are_the_gaussian_posterior(settings, steps):
    scheduler = PurificationScheduler(**settings)
    scheduler.set_timesteps(steps)
    betas = (scheduler.betas if steps == "full" else scheduler.fast_betas).numpy()
    alpha_bar, rng = np.cumprod(1 - betas), np.random.default_rng(0)
    for index, timestep in enumerate(scheduler.timesteps.flip(0).tolist(), start=1):
        clean, noisy, sample = rng.normal(size=3)
        mean, variance = direct_posterior(alpha_bar, index, clean, noisy, sample, scheduler.conditional)
        a = alpha_bar[index - 1]
        e = (sample - np.sqrt(a) * clean) / np.sqrt(1 - a)
        x, y, e, one = (torch.tensor([[value]], dtype=torch.float64) for value in (sample, noisy, e, 1.0))
        still = scheduler.step(e, timestep, x, y)
        shaken = scheduler.step(e, timestep, x, y, one)
        assert float(still.prev_sample) == pytest.approx(mean, abs=1e-10)
        assert float(shaken.prev_sample - still.prev_sample) ** 2 == pytest.approx(variance, abs=1e-10)
        assert float(still.pred_original_sample) == pytest.approx(clean, abs=1e-10)


def test_without_condition_it_is_ddpm():
    """To the precision of theirs, which takes 1 - abar = 1e-4 in float32."""
    ours = PurificationScheduler(conditional=False)
    theirs = DDPMScheduler(50, beta_start=1e-4, beta_end=0.05, clip_sample=False, variance_type="fixed_small")
    for timestep in (49, 20, 1, 0):
        x, e = torch.randn(2, 3, 100, generator=torch.Generator().manual_seed(timestep))
        drawn = torch.Generator().manual_seed(5)
        noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(5))
        expected = theirs.step(e, timestep, x, generator=drawn)
        got = ours.step(e, timestep, x, None, noise)
        torch.testing.assert_close(got.prev_sample, expected.prev_sample, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(got.pred_original_sample, expected.pred_original_sample, rtol=1e-4, atol=1e-5)
        t = torch.tensor([timestep])
        added = ours.add_noise(x[:1], noise[:1], t)
        torch.testing.assert_close(added, theirs.add_noise(x[:1], noise[:1], t), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("settings", SCHEDULES)
@pytest.mark.parametrize("steps", ["full", "fast"])
def test_no_variance_is_negative(settings, steps):
    scheduler = PurificationScheduler(**settings)
    scheduler.set_timesteps(steps)
    variances = [step.variance for step in scheduler._reverse]
    assert variances[0] == 0
    assert min(variances[1:]) > 0


def test_as_printed_the_papers_process_does_not_exist():
    alpha_bar = PurificationScheduler().alphas_cumprod
    printed = ((1 - alpha_bar) / alpha_bar.sqrt()).sqrt()
    assert printed[-1] > 1.16
    with pytest.raises(ValueError, match="betas must leave every variance at least 0"):
        reverse_coefficients(alpha_bar, printed)


def test_fast_steps_are_aligned_with_training_steps():
    scheduler = PurificationScheduler()
    scheduler.set_timesteps("fast")
    expected = [42.919, 22.992, 10.452, 4.087, 0.894, 0.0]
    assert scheduler.timesteps.tolist() == pytest.approx(expected, abs=1e-3)
    alpha_bar = np.cumprod(1 - np.array([1e-4, 1e-3, 0.01, 0.05, 0.2, 0.5]))
    assert scheduler.alpha_bar(scheduler.timesteps.flip(0)).numpy() == pytest.approx(alpha_bar, abs=1e-12)


def test_fast_steps_beyond_training_are_refused():
    with pytest.raises(ValueError, match=r"alpha_bar must be in \[0.2797, 1\], the range of training"):
        PurificationScheduler(fast_betas=(0.1, 0.9)).set_timesteps("fast")


def test_position_and_alpha_bar_are_inverse():
    scheduler = PurificationScheduler()
    steps = torch.linspace(-1, 49, 301, dtype=torch.float64)
    torch.testing.assert_close(scheduler.position(scheduler.alpha_bar(steps)), steps)
    whole = scheduler.alpha_bar(torch.arange(50))
    torch.testing.assert_close(whole, scheduler.alphas_cumprod)
    assert scheduler.alpha_bar(torch.tensor([-1.0])) == 1


@pytest.mark.parametrize("conditional", [True, False])
def test_add_noise_and_target_are_eq_3_and_7(conditional):
    scheduler = PurificationScheduler(conditional=conditional)
    x, y, noise = torch.randn(3, 50, 40, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    of_clean, of_noisy, variance = marginals(scheduler.alphas_cumprod.numpy(), conditional)
    of_clean, of_noisy, variance = (torch.from_numpy(value[1:, None]) for value in (of_clean, of_noisy, variance))
    sample = scheduler.add_noise(x, noise, torch.arange(50), y)
    torch.testing.assert_close(sample, of_clean * x + of_noisy * y + variance.sqrt() * noise)
    a = scheduler.alphas_cumprod[:, None]
    target = scheduler.target(x, noise, torch.arange(50), y)
    torch.testing.assert_close(a.sqrt() * x + (1 - a).sqrt() * target, sample)


def test_settings_and_steps_that_make_no_sense():
    with pytest.raises(ValueError, match=r"fast_betas must be in \(0, 1\), got \[0.0, 0.5\]"):
        PurificationScheduler(fast_betas=(0.0, 0.5))
    scheduler = PurificationScheduler()
    with pytest.raises(ValueError, match="steps must be 'full' or 'fast', got 'slow'"):
        scheduler.set_timesteps("slow")
    with pytest.raises(ValueError, match="timestep must be one of .*, got 0.5"):
        scheduler.step(torch.zeros(1, 1), 0.5, torch.zeros(1, 1))
    with pytest.raises(ValueError, match="noisy must be given to a conditional process, got None"):
        scheduler.step(torch.zeros(1, 1), 10, torch.zeros(1, 1))
