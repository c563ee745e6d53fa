import math

import pytest
import torch
import torchaudio.compliance.kaldi as kaldi
from speechbrain.lobes.features import Fbank
from speechbrain.processing.features import InputNormalization

from voxcert.data import LibriSpeech
from voxcert.encoders import frontends
from voxcert.encoders.frontends import KaldiFbank, LogMel

OPTIONS = [
    *({"window": window} for window in frontends.WINDOWS),
    *({"scale": scale, "snip_edges": snip_edges} for scale in (1.0, 32768.0) for snip_edges in (True, False)),
    {"preemphasis": 0.0},
    {"preemphasis": 1.0},
    {"window_ms": 32.0, "hop_ms": 16.0},
    {"window_ms": 20.0, "hop_ms": 12.5, "snip_edges": False},
    {"window_ms": 25.0, "hop_ms": 25.0, "snip_edges": False},
    {"window_ms": 12.5, "hop_ms": 5.0, "num_mels": 23},
    {"num_mels": 40, "low_hz": 0.0},
    {"num_mels": 64, "low_hz": 300.0},
    {"energy_floor": 1e6},
    {"energy_floor": 1e-10, "scale": 1.0},
    {"mean_norm": False},
]
KALDI_NAMES = {
    "num_mels": "num_mel_bins",
    "window": "window_type",
    "window_ms": "frame_length",
    "hop_ms": "frame_shift",
    "preemphasis": "preemphasis_coefficient",
    "snip_edges": "snip_edges",
    "low_hz": "low_freq",
}


def reference(waveform, **options):
    """The fbank of torchaudio row by row; the floor is laid under its energies, since its own spares the mel bands."""
    options = {"num_mels": 80, "window": "hamming"} | options
    scale, mean_norm = options.get("scale", 32768.0), options.get("mean_norm", True)
    floor = options.get("energy_floor", torch.finfo(torch.float32).eps)
    named = {KALDI_NAMES[name]: value for name, value in options.items() if name in KALDI_NAMES}
    rows = [kaldi.fbank(scale * row[None], dither=0.0, use_log_fbank=False, **named) for row in waveform]
    features = torch.stack(rows).clamp(min=floor).log()
    return features - features.mean(dim=1, keepdim=True) if mean_norm else features


@pytest.fixture(scope="module")
def synthetic():
    """A rising tone with an offset, noise that fades into digital silence, and a click."""
    time = torch.arange(8000) / 16_000
    tone = 0.3 * torch.sin(2 * math.pi * (100 + 3000 * time) * time) + 0.05
    noise = 0.1 * torch.randn(8000, generator=torch.Generator().manual_seed(0)) * (1 - 2.5 * time).clamp(min=0)
    click = torch.zeros(8000)
    click[3000] = 1.0
    return torch.stack([tone, noise, click])


@pytest.fixture(scope="module")
def speech(librispeech):
    """Three seconds of each of eight speakers."""
    utterances = LibriSpeech(librispeech).utterances()
    speakers = {utterance.speaker: utterance for utterance in utterances}
    return torch.stack([utterance.load()[16_000:64_000] for utterance in list(speakers.values())[:8]])


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_fbank_is_kaldis(synthetic, options):
    torch.testing.assert_close(KaldiFbank(**options)(synthetic), reference(synthetic, **options), atol=1e-4, rtol=0)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_fbank_is_kaldis_on_speech(speech, options):
    torch.testing.assert_close(KaldiFbank(**options)(speech), reference(speech, **options), atol=1e-4, rtol=0)


@pytest.mark.parametrize("snip_edges", [True, False])
@pytest.mark.parametrize("time", [400, 401, 559, 560, 1000, 7999])
def test_every_length_gives_kaldis_frames(synthetic, time, snip_edges):
    waveform = synthetic[:, -time:] + synthetic[:, :time]
    features = KaldiFbank(snip_edges=snip_edges)(waveform)
    torch.testing.assert_close(features, reference(waveform, snip_edges=snip_edges), atol=1e-4, rtol=0)


def test_blocks_of_rows_change_nothing(synthetic, monkeypatch):
    waveform = synthetic.repeat(3, 1)
    whole = KaldiFbank()(waveform)
    monkeypatch.setattr(frontends, "BLOCK_FRAMES", 1)
    torch.testing.assert_close(KaldiFbank()(waveform), whole, atol=1e-5, rtol=0)


@pytest.mark.parametrize("scale", [1.0, 32768.0])
def test_fbank_is_features_of_the_magnitude(synthetic, scale):
    fbank = KaldiFbank(scale=scale)
    magnitude = fbank.magnitude(synthetic)
    assert magnitude.shape == (3, 48, fbank.num_bins) == (3, 48, 257)
    torch.testing.assert_close(fbank.features(magnitude), fbank(synthetic), atol=1e-5, rtol=0)


def test_magnitude_is_in_waveform_amplitude():
    """A cosine of amplitude A in a bin's middle has magnitude A times half the window's sum."""
    time = torch.arange(512) / 16_000
    fbank = KaldiFbank(window="hanning", window_ms=32.0, preemphasis=0.0)
    magnitude = fbank.magnitude(0.2 * torch.cos(2 * math.pi * 1000 * time)[None])
    assert magnitude[0, 0].argmax() == 32
    torch.testing.assert_close(magnitude[0, 0, 32], 0.1 * fbank.window.sum(), atol=1e-4, rtol=0)


@pytest.mark.parametrize("scale", [1.0, 32768.0])
@pytest.mark.parametrize("through", ["forward", "magnitude"])
def test_gradient_is_the_slope(synthetic, scale, through):
    """Along random directions, against central differences of the float64 reference, to 1e-3 of the slope."""
    fbank, noise = KaldiFbank(scale=scale), torch.Generator().manual_seed(1)
    waveform = (synthetic[:1] + 0.01 * torch.randn(1, 8000, generator=noise)).requires_grad_()
    features = fbank(waveform) if through == "forward" else fbank.features(fbank.magnitude(waveform))
    weight = torch.randn(features.shape, generator=noise)
    (gradient,) = torch.autograd.grad((weight * features).sum(), waveform)
    for _ in range(3):
        direction, step = torch.randn(waveform.shape, generator=noise).double(), 1e-6
        ends = [reference((waveform + sign * step * direction).detach().double(), scale=scale) for sign in (1, -1)]
        slope = (weight * (ends[0] - ends[1])).sum() / (2 * step)
        torch.testing.assert_close((gradient * direction).sum(), slope, rtol=1e-3, atol=0)


@pytest.mark.parametrize("frontend", [KaldiFbank(), KaldiFbank(snip_edges=False, scale=1.0), LogMel()])
def test_silence_has_finite_gradients(frontend):
    waveform = torch.zeros(2, 4000, requires_grad=True)
    for features in (frontend(waveform), frontend.features(frontend.magnitude(waveform))):
        assert torch.isfinite(features).all()
        (gradient,) = torch.autograd.grad(features.square().sum() + features.sum(), waveform)
        assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("frontend", [KaldiFbank(), LogMel()])
def test_autocast_leaves_features_in_float32(frontend, synthetic):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        features = frontend(synthetic)
        halves = frontend.features(frontend.magnitude(synthetic))
    assert features.dtype == halves.dtype == torch.float32
    torch.testing.assert_close(features, frontend(synthetic), atol=0, rtol=0)


@pytest.mark.parametrize("frontend", [KaldiFbank(), KaldiFbank(snip_edges=False), LogMel()])
def test_compiles_to_one_graph_with_the_same_result(frontend, synthetic):
    torch._dynamo.reset()
    compiled = torch.compile(frontend, backend="eager", fullgraph=True)(synthetic)
    torch.testing.assert_close(compiled, frontend(synthetic), atol=1e-5, rtol=0)


def test_buffers_stay_out_of_the_checkpoint():
    assert KaldiFbank().state_dict() == {}


def test_a_waveform_shorter_than_the_window_is_named():
    with pytest.raises(ValueError, match="waveform must have at least 400 samples, got 399"):
        KaldiFbank()(torch.zeros(1, 399))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_mels": 3}, "num_mels must be at least 4, got 3"),
        ({"window": "hann"}, "window must be one of hamming, povey, hanning, rectangular, blackman, got 'hann'"),
        ({"scale": 0.0}, r"scale must be positive, got 0\.0"),
        ({"window_ms": 0.1}, r"window_ms must be at least 0\.125 \(two samples\), got 0\.1"),
        ({"hop_ms": 0.0}, r"hop_ms must be in \[0\.0625, 25\.0\], got 0\.0"),
        ({"hop_ms": 26.0}, r"hop_ms must be in \[0\.0625, 25\.0\], got 26\.0"),
        ({"preemphasis": 1.5}, r"preemphasis must be in \[0, 1\], got 1\.5"),
        ({"low_hz": 8000.0}, r"low_hz must be in \[0, 8000\), got 8000\.0"),
        ({"energy_floor": 0.0}, r"energy_floor must be positive, got 0\.0"),
    ],
)
def test_impossible_arguments_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        KaldiFbank(**options)


@pytest.mark.parametrize("options", [{}, {"num_mels": 24}, {"fft_size": 512, "window_ms": 32, "hop_ms": 20}], ids=str)
def test_log_mel_is_speechbrains(synthetic, options):
    """Features and normalisation of its published ECAPA-TDNN, each from speechbrain's own classes."""
    named = {"num_mels": "n_mels", "fft_size": "n_fft", "window_ms": "win_length", "hop_ms": "hop_length"}
    features = Fbank(**{"n_mels": 80} | {named[name]: value for name, value in options.items()})(synthetic)
    expected = InputNormalization(norm_type="sentence", std_norm=False)(features, torch.ones(3))
    frontend = LogMel(**options)
    torch.testing.assert_close(frontend(synthetic), expected, atol=1e-5, rtol=0)
    magnitude = frontend.magnitude(synthetic)
    assert magnitude.shape[-1] == frontend.num_bins
    torch.testing.assert_close(frontend.features(magnitude), expected, atol=1e-5, rtol=0)
