import copy

import pytest
import torch

from voxcert.encoders.loading import encoder_hash
from voxcert.purifiers.diffusion import DiffusionPurifier, OneShotDenoiser
from voxcert.purifiers.networks import NoisePredictor
from voxcert.purifiers.schedule import PurificationScheduler

BOTH = pytest.mark.parametrize("conditional", [True, False])


class Oracle(NoisePredictor):
    """Knows the clean speech, and so the noise."""

    conditioner = None

    def __init__(self, scheduler, clean):
        super().__init__()
        self.scheduler, self.clean = scheduler, clean

    def forward(self, sample, step, condition=None):
        """Returns the noise in x_t."""
        a = self.scheduler.alpha_bar(step)[:, None]
        return (sample - a.sqrt() * self.clean) / (1 - a).sqrt()


class Shrinking(NoisePredictor):
    """What denoises white Gaussian speech of standard deviation 1 best: x_0 is sqrt(abar) x_t."""

    conditioner = None

    def __init__(self, scheduler):
        super().__init__()
        self.scheduler = scheduler

    def forward(self, sample, step, condition=None):
        """Returns the expected noise in x_t."""
        return (1 - self.scheduler.alpha_bar(step))[:, None].sqrt().to(sample) * sample


@BOTH
@pytest.mark.parametrize(("steps", "start"), [("full", None), ("full", 7), ("fast", None), ("fast", 2)])
def test_an_oracle_gives_the_clean_speech_back(waveform, conditional, steps, start):
    scheduler, clean = PurificationScheduler(conditional=conditional), waveform.double()
    purifier = DiffusionPurifier(Oracle(scheduler, clean), scheduler, steps, start)
    noisy = clean + 0.05 * torch.randn_like(clean)
    torch.testing.assert_close(purifier(noisy), clean, rtol=0, atol=1e-10)


def test_sampling_white_noise_by_hand():
    """DDPM on Gaussian speech with the best denoiser: a step multiplies by sqrt(alpha) and adds the posterior noise."""
    scheduler = PurificationScheduler(conditional=False)
    purifier = DiffusionPurifier(Shrinking(scheduler), scheduler, "full", seed=None)
    torch.manual_seed(0)
    purified = purifier(0.02 * torch.randn(4, 100_000))
    beta, a = scheduler.betas.tolist(), [1.0, *scheduler.alphas_cumprod.tolist()]
    variance = a[-1] * 0.02**2 + 1 - a[-1]
    for t in reversed(range(50)):
        variance = (1 - beta[t]) * variance + beta[t] * (1 - a[t]) / (1 - a[t + 1])
    normal = torch.distributions.Normal(0, variance**0.5)
    assert float((purified.abs() < 0.5).float().mean()) == pytest.approx(
        float(2 * normal.cdf(torch.tensor(0.5)) - 1), abs=0.005
    )


@BOTH
@pytest.mark.parametrize("time", [1, 100, 2001])
def test_any_length_in_range(make, waveform, conditional, time):
    x = waveform[:, :time]
    out = make(conditional=conditional, data_std=0.1)(x)
    assert out.shape == x.shape
    assert out.abs().max() <= 1
    assert out.any()


@BOTH
@pytest.mark.parametrize("data_std", [None, 0.1])
def test_rows_do_not_depend_on_each_other(make, spectral, waveform, conditional, data_std):
    purifier = make(spectral, conditional, data_std=data_std)
    text = torch.randn(3, 768)
    torch.testing.assert_close(purifier(waveform, text)[1:2], purifier(waveform[1:2], text[1:2]), rtol=1e-4, atol=1e-5)


def test_noise_is_fixed_unless_asked(make, waveform):
    purifier = make(data_std=0.1)
    first = purifier(waveform)
    assert torch.equal(first, purifier(waveform))
    purifier.seed = 1
    assert not torch.allclose(first, purifier(waveform))
    purifier.seed = None
    torch.manual_seed(0)
    assert not torch.allclose(purifier(waveform), purifier(waveform))
    twice = purifier(waveform[:1].expand(2, -1))
    assert not torch.allclose(twice[0], twice[1])


def test_a_scheduler_may_serve_several_purifiers(waveform):
    scheduler = PurificationScheduler(conditional=False)
    fast = DiffusionPurifier(Shrinking(scheduler), scheduler, "fast")
    before = fast(waveform)
    full = DiffusionPurifier(Shrinking(scheduler), scheduler, "full")
    assert torch.equal(fast(waveform), before)
    assert not torch.equal(full(waveform), before)


def test_the_config_has_the_seed_of_now_also_inside_another(make):
    purifier = make(conditional=False, data_std=0.1)
    denoiser, first = OneShotDenoiser(purifier, 0.05), encoder_hash(purifier)
    purifier.seed = 1
    assert purifier.config["init_args"]["seed"] == 1 == denoiser.config["init_args"]["purifier"]["init_args"]["seed"]
    assert encoder_hash(purifier) != first
    copied = copy.deepcopy(purifier)
    copied.seed = 2
    assert (purifier.config["init_args"]["seed"], copied.config["init_args"]["seed"]) == (1, 2)


def test_start_keeps_more_of_the_waveform(make, waveform):
    """An untrained network takes nothing away, so what remains is what the process added."""
    change = [(make(start=start)(waveform) - waveform).norm() for start in (1, 3, 6)]
    assert change[0] < change[1] < change[2]


@BOTH
def test_gradients_with_and_without_checkpointing(make, spectral, waveform, conditional):
    gradients = []
    for checkpointing in (False, True):
        x = waveform.clone().requires_grad_()
        purifier = make(spectral, conditional, data_std=0.1, checkpointing=checkpointing)
        purifier(x, torch.ones(3, 768)).square().sum().backward()
        gradients.append([x.grad] + [parameter.grad for parameter in purifier.parameters()])
    for plain, again in zip(*gradients, strict=True):
        assert (plain is None) == (again is None)
        if plain is not None:
            torch.testing.assert_close(plain, again)
    assert gradients[0][0].abs().min(dim=1).values.max() > 0


@BOTH
def test_gradient_is_that_of_finite_differences(make, waveform, conditional):
    purifier = make(conditional=conditional, data_std=0.1)
    x = waveform[:1, :300].clone().requires_grad_()
    direction = torch.randn(x.shape, generator=torch.Generator().manual_seed(2))
    purifier(x).sin().sum().backward()
    with torch.no_grad():
        ahead, behind = (purifier(x + shift * direction).sin().sum() for shift in (1e-3, -1e-3))
    assert float((x.grad * direction).sum()) == pytest.approx(float((ahead - behind) / 2e-3), rel=1e-2)


@BOTH
def test_preconditioning_has_unit_variances(make, conditional):
    """Karras et al. 2022, on white noise as speech: unit input, and an output of unit variance is the best one."""
    purifier = make(conditional=conditional, data_std=0.3)
    scheduler = purifier.scheduler
    seen = []
    purifier.network.forward = lambda sample, step, condition: (seen.append(sample), torch.zeros_like(sample))[1]
    clean, noise = torch.randn(2, 3, 100_000, generator=torch.Generator().manual_seed(0))
    clean, timesteps = 0.3 * clean, torch.tensor([0.0, 10.0, 40.0])
    error = scheduler.target(clean, noise, timesteps) - purifier.predict_noise(
        scheduler.add_noise(clean, noise, timesteps), timesteps
    )
    torch.testing.assert_close(seen[0].var(dim=1), torch.ones(3), rtol=0.02, atol=0)
    best = error / purifier.output_scale(timesteps).to(error)
    torch.testing.assert_close(best.var(dim=1), torch.ones(3), rtol=0.02, atol=0)


@pytest.mark.parametrize("sigma", [0.001, 0.01, 0.05, 0.1, 0.25, 1.6])
def test_one_shot_is_the_estimate_of_carlini(waveform, sigma):
    scheduler = PurificationScheduler(conditional=False)
    denoiser = OneShotDenoiser(DiffusionPurifier(Shrinking(scheduler), scheduler), sigma)
    noisy = waveform + sigma * torch.randn_like(waveform)
    alpha_bar = 1 / (1 + sigma**2)
    assert float(scheduler.alpha_bar(torch.tensor(denoiser.timestep, dtype=torch.float64))) == pytest.approx(
        alpha_bar, abs=1e-12
    )
    torch.testing.assert_close(denoiser(noisy), (alpha_bar * noisy).clamp(-1, 1), rtol=1e-4, atol=1e-6)


def test_one_shot_is_deterministic_row_by_row(make, spectral, waveform):
    denoiser = OneShotDenoiser(make(spectral, False, data_std=0.1), 0.1)
    together = denoiser(waveform)
    assert torch.equal(together, denoiser(waveform))
    torch.testing.assert_close(together[2:], denoiser(waveform[2:]), rtol=1e-4, atol=1e-5)
    x = waveform.clone().requires_grad_()
    denoiser(x).square().sum().backward()
    assert x.grad.abs().sum() > 0


def test_settings_that_make_no_sense(make):
    with pytest.raises(ValueError, match="start must be between 1 and the 6 fast steps, got 7"):
        make(start=7)
    with pytest.raises(ValueError, match="data_std must be positive, got 0"):
        make(data_std=0.0)
    with pytest.raises(ValueError, match="purifier must have a scheduler with conditional false"):
        OneShotDenoiser(make(), 0.1)
    with pytest.raises(ValueError, match=r"sigma must be in \(0, 1.605\], the noise the network knows, got 2"):
        OneShotDenoiser(make(conditional=False), 2.0)
    with pytest.raises(ValueError, match=r"waveform must have shape \(batch, time\), got \(5,\)"):
        make()(torch.zeros(5))
    with pytest.raises(ValueError, match=r"text must have shape \(2, 768\), got \(1, 768\)"):
        make()(torch.zeros(2, 5), torch.zeros(1, 768))


def test_a_copy_is_as_good(make, waveform):
    purifier = make(conditional=False)
    copied = copy.deepcopy(purifier)
    assert copied.config == purifier.config
    assert torch.equal(copied(waveform), purifier(waveform))
