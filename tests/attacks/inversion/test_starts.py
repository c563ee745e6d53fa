import math

import numpy as np
import pytest
import torch

from voxcert.attacks.inversion.starts import Centred, Constant, Mixture, Noise, Speech, Uniform

SPEECH = torch.arange(12.0).unflatten(0, (3, 4))


def draw(start, num=200_000, seed=0, speech=None):
    return start.draw(num, np.random.default_rng(seed), speech)


@pytest.mark.parametrize("value", [0, 1, -1])
def test_constants(value):
    assert torch.equal(draw(Constant(value), 5), torch.full((5,), float(value)))


@pytest.mark.parametrize(("color", "slope"), [("white", 0), ("pink", -1), ("brown", -2), ("blue", 1), ("violet", 2)])
def test_the_spectrum_of_a_noise_falls_as_its_color_says(color, slope):
    noise = torch.atanh(draw(Noise(color)).double().clamp(-1 + 1e-7, 1 - 1e-7))
    power = torch.fft.rfft(noise).abs().square()
    low, high = power[200:400].mean(), power[20_000:40_000].mean()  # two octaves-wide bands, a factor 100 apart
    assert math.log10(high / low) / 2 == pytest.approx(slope, abs=0.15)


@pytest.mark.parametrize("color", ["white", "brown", "violet"])
def test_noises_lie_within_one(color):
    assert draw(Noise(color), 3200).abs().max() < 1


@pytest.mark.parametrize(
    ("start", "mean", "deviation"),
    [
        (Uniform(0, 1), 0.5, math.sqrt(1 / 12)),
        (Uniform(-1, 1), 0, math.sqrt(4 / 12)),
        (Centred("normal", 0.2), 0, 0.2),
        (Centred("laplace", 0.07), 0, 0.07 * math.sqrt(2)),
        (Centred("gumbel", 0.1), 0.1 * np.euler_gamma, 0.1 * math.pi / math.sqrt(6)),
        (Centred("vonmises", 1e-6), 0, math.pi / math.sqrt(3)),  # without concentration: uniform on the circle
    ],
)
def test_moments(start, mean, deviation):
    samples = draw(start)
    assert float(samples.mean()) == pytest.approx(mean, abs=0.01)
    assert float(samples.std()) == pytest.approx(deviation, rel=0.01)


def test_speech_is_one_of_the_stretches_and_a_mean_takes_each_once():
    assert draw(Speech(), 4, speech=SPEECH).tolist() in SPEECH.tolist()
    assert torch.equal(draw(Speech(3), 4, speech=SPEECH), SPEECH.mean(dim=0))


def test_mixture():
    mixed = Mixture(Constant(2), Constant(-1), share=0.85)
    assert torch.allclose(draw(mixed, 3), torch.full((3,), 0.85 * 2 - 0.15))


@pytest.mark.parametrize(
    ("start", "stretches"),
    [(Constant(0), 0), (Speech(), 1), (Mixture(Speech(3), Noise("white")), 3), (Mixture(Noise("white"), Speech(2)), 2)],
)
def test_a_start_says_how_much_speech_it_takes(start, stretches):
    assert start.num_stretches == stretches


def test_a_draw_depends_on_the_generator_alone():
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002 (the global state that must not matter)
    first = draw(Mixture(Noise("pink"), Centred("gumbel", 0.1)), 100)
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002
    assert torch.equal(draw(Mixture(Noise("pink"), Centred("gumbel", 0.1)), 100), first)
    assert not torch.equal(draw(Mixture(Noise("pink"), Centred("gumbel", 0.1)), 100, seed=1), first)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Noise("red"), "color must be one of violet, blue, white, pink, brown, got 'red'"),
        (lambda: Uniform(1, 1), "low and high must satisfy low < high, got low=1, high=1"),
        (lambda: Centred("cauchy", 1), "family must be one of normal, laplace, gumbel, vonmises, got 'cauchy'"),
        (lambda: Centred("normal", 0), "scale must be above 0, got 0"),
        (lambda: Speech(0), "mean_of must be at least 1, got 0"),
        (lambda: Mixture(Constant(0), Constant(0), 1.5), r"share must be in \[0, 1\], got 1.5"),
        (lambda: draw(Speech(4), 4, speech=SPEECH), "speech must hold 4 stretches for this start, got 3"),
        (lambda: draw(Speech(), 4), "speech must hold 1 stretches for this start, got 0"),
    ],
)
def test_bad_values(make, message):
    with pytest.raises(ValueError, match=message):
        make()
