import numpy as np
import pytest
import torch
from scipy import ndimage

from voxcert.attacks import StraightThrough
from voxcert.data import LibriSpeech
from voxcert.purifiers import AddNoise, Codec, GaussianFilter, MeanFilter, MedianFilter, Quantise

FILTERS = [MedianFilter(5), MeanFilter(5), GaussianFilter(1.5), AddNoise(0.01, seed=3), Quantise(6), Codec("ogg")]
CODECS = ["ogg", "opus", "mp3"]


@pytest.fixture(scope="module")
def waveform():
    return 0.1 * torch.randn(3, 4000, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def speech(librispeech):
    return LibriSpeech(librispeech, ["test-other"]).utterances()[0].load()[None, :48_000]


def name(purifier):
    return type(purifier).__name__


@pytest.mark.parametrize(
    ("purifier", "reference"),
    [
        (MedianFilter(7), lambda x: ndimage.median_filter(x, 7, mode="mirror")),
        (MeanFilter(5), lambda x: ndimage.uniform_filter1d(x, 5, mode="mirror")),
        (GaussianFilter(2.0), lambda x: ndimage.gaussian_filter1d(x, 2.0, mode="mirror", truncate=4.0)),
    ],
    ids=["median", "mean", "gaussian"],
)
def test_filters_are_those_of_scipy(purifier, reference, waveform):
    for row, filtered in zip(waveform, purifier(waveform), strict=True):
        np.testing.assert_allclose(filtered.numpy(), reference(row.numpy()), atol=2e-7)


@pytest.mark.parametrize("purifier", FILTERS, ids=name)
def test_a_row_is_the_single_call(purifier, waveform):
    together = purifier(waveform)
    assert together.shape == waveform.shape
    assert together.dtype == waveform.dtype
    assert not torch.equal(together, waveform)
    alone = torch.cat([purifier(row[None]) for row in waveform])
    assert torch.allclose(together, alone, atol=1e-7)
    assert torch.equal(purifier(waveform), together)
    assert torch.equal(purifier(waveform, torch.zeros(3, 768)), together)


@pytest.mark.parametrize("purifier", FILTERS, ids=name)
def test_says_truly_whether_it_is_differentiable(purifier, waveform):
    start = waveform[:1, :200].clone().requires_grad_()
    output = purifier(start)
    direction = torch.randn(output.shape, generator=torch.Generator().manual_seed(1))
    if not purifier.differentiable:
        (gradient,) = torch.autograd.grad(StraightThrough(purifier)(start), start, direction)
        assert torch.equal(gradient, direction)
        assert not output.requires_grad or not torch.autograd.grad(output, start, direction)[0].any()
        return
    (gradient,) = torch.autograd.grad(output, start, direction)
    step = 1e-4 * torch.randn(start.shape, generator=torch.Generator().manual_seed(2)).double()
    before, after = (purifier.double()(start.detach().double() + sign * step) for sign in (-1, 1))
    purifier.float()
    change = (after - before).mul(direction).sum() / 2
    assert change == pytest.approx((gradient * step).sum().item(), rel=1e-3)


def test_noise_has_its_level_and_is_fixed_or_fresh(waveform):
    fixed, fresh = AddNoise(0.02, seed=1), AddNoise(0.02)
    for purifier in (fixed, fresh):
        assert (purifier(waveform) - waveform).std().item() == pytest.approx(0.02, rel=0.03)
    noise = fixed(waveform) - waveform
    assert torch.allclose(noise[0], noise[1], atol=1e-7)
    assert not torch.allclose(noise, AddNoise(0.02, seed=2)(waveform) - waveform, atol=1e-3)
    assert not torch.allclose(fresh(waveform), fresh(waveform), atol=1e-3)
    noise = fresh(waveform) - waveform
    assert abs(torch.corrcoef(noise[:2])[0, 1]) < 0.1


def test_quantisation_has_its_number_of_levels():
    ramp = torch.linspace(-1, 1, 10_001)[None]
    levels = Quantise(3)(ramp).unique()
    assert torch.equal(levels, torch.arange(-4, 5) / 4)
    assert 0.99 * 2**-8 < (Quantise(8)(ramp) - ramp).abs().max() <= 2**-8
    as_16_bits = (torch.randint(-32768, 32768, (1, 500)) / 32768).float()
    assert torch.equal(Quantise(16)(as_16_bits), as_16_bits)


@pytest.mark.parametrize("kind", CODECS)
def test_codecs_keep_speech_in_step_and_length(speech, kind):
    for length in (48_000, 12_345):
        clean = speech[:, :length]
        decoded = Codec(kind)(clean)
        assert decoded.shape == clean.shape
        ratio = 10 * torch.log10(clean.square().sum() / (decoded - clean).square().sum())
        assert 10 < ratio < 40
    correlation = torch.nn.functional.conv1d(decoded[None], clean[:, None, 200:-200])[0, 0]
    assert correlation.argmax() == 200, "a delay"


@pytest.mark.parametrize("kind", CODECS)
def test_more_compression_loses_more(speech, kind):
    little, much = ((Codec(kind, compression)(speech) - speech).square().mean().item() for compression in (0.0, 0.95))
    assert 1.5 * little < much


def test_codecs_clip_and_take_an_empty_batch():
    loud = 1.5 * torch.sin(torch.arange(8000) / 20)[None]
    assert Codec("ogg")(loud).abs().max() < 1.3
    assert Codec("ogg")(loud[:0]).shape == (0, 8000)


def test_remembers_how_it_was_built():
    for purifier in FILTERS:
        assert purifier.config["class_path"] == f"voxcert.purifiers.{name(purifier)}"
        again = type(purifier)(**purifier.config["init_args"])
        assert again.config == purifier.config
    assert AddNoise(0.1).config["init_args"] == {"sigma": 0.1, "seed": None}


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: MedianFilter(4), "kernel_size must be odd and at least 1, got 4"),
        (lambda: MeanFilter(-1), "kernel_size must be odd"),
        (lambda: GaussianFilter(0), "std must be finite and above 0, got 0"),
        (lambda: AddNoise(-0.1), "sigma must be finite and at least 0, got -0.1"),
        (lambda: Quantise(0), r"bits must be in \[1, 24\], got 0"),
        (lambda: Codec("aac"), "format must be one of ogg, opus, mp3, got 'aac'"),
        (lambda: Codec("mp3", 1.0), r"compression must be in \[0, 1\) or null, got 1.0"),
        (lambda: MedianFilter(9)(torch.ones(1, 4)), "waveform must be longer than half the filter, 4 samples, got 4"),
        (lambda: MeanFilter()(torch.ones(4)), r"waveform must have shape \(batch, time\)"),
    ],
)
def test_errors_name_what_is_allowed(build, message):
    with pytest.raises(ValueError, match=message):
        build()
