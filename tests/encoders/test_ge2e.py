import numpy as np
import pytest
import torch
import torch.nn.functional as F

from voxcert.encoders.ge2e import GE2E, PartialMel, covered_frames
from voxcert.encoders.representation import SplitEncoder

TINY = {"dim": 12, "hidden_size": 8, "num_layers": 2, "num_mels": 10}


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    return GE2E(**TINY).eval()


def starts(num_samples):
    """First frames of the partial utterances that Resemblyzer hears, written down from what its documentation says."""
    frames = int(np.ceil((num_samples + 1) / 160))
    found = [start for start in range(0, frames, 77) if start == 0 or start <= frames - 160 + 77]
    if len(found) > 1 and num_samples - 160 * found[-1] < 0.75 * 25_600:
        found.pop()
    return found


@pytest.mark.parametrize("num_samples", [1, 400, 8000, 13_279, 13_280, 31_000, 31_519, 31_520, 48_000, 160_000])
def test_frames_are_those_of_whole_partial_utterances(num_samples):
    assert covered_frames(num_samples) == starts(num_samples)[-1] + 160


def hertz(mel):
    """Slaney's scale: linear up to 1 kHz, then 27 steps for a factor of 6.4."""
    return 1000 * np.where(mel < 15, mel / 15, 6.4 ** ((mel - 15) / 27))


def mel_energies(waveform, num_frames, num_mels):
    """Power spectra of centred Hann windows, by triangles of equal area on Slaney's scale."""
    padded = np.pad(waveform, (200, 200 + 160 * num_frames))
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    frames = np.stack([padded[160 * i : 160 * i + 400] for i in range(num_frames)])
    power = np.abs(np.fft.rfft(frames * window)) ** 2
    edges = hertz(np.linspace(0, 15 + 27 * np.log(8) / np.log(6.4), num_mels + 2))
    low, centre, high = (edges[i : num_mels + i, None] for i in range(3))
    bins = np.fft.rfftfreq(400, 1 / 16_000)
    triangles = np.maximum(0, np.minimum((bins - low) / (centre - low), (high - bins) / (high - centre)))
    return power @ (2 / (high - low) * triangles).T


@pytest.mark.parametrize("num_samples", [12_000, 48_000])
def test_front_end_is_librosas_rule_by_hand(num_samples):
    waveform = 0.1 * torch.randn(2, num_samples, generator=torch.Generator().manual_seed(0))
    frontend = PartialMel(40)
    features = frontend(waveform)
    frames = covered_frames(num_samples)
    expected = np.stack([mel_energies(row.double().numpy(), frames, 40) for row in waveform])
    assert features.shape == (2, frames, 40)
    torch.testing.assert_close(features, torch.from_numpy(expected).float(), rtol=1e-4, atol=1e-6)


def test_quiet_waveforms_are_made_louder_and_loud_ones_left():
    waveform = torch.randn(1, 26_000, generator=torch.Generator().manual_seed(0))
    waveform = waveform / waveform.square().mean().sqrt()
    frontend = PartialMel(10)
    reference = frontend(10 ** (-30 / 20) * waveform)
    torch.testing.assert_close(frontend(1e-4 * waveform), reference, rtol=1e-4, atol=1e-8)
    torch.testing.assert_close(frontend(0.1 * waveform), 10 * reference, rtol=1e-4, atol=1e-8)


def test_an_embedding_is_the_mean_over_partial_utterances(encoder):
    waveform = 0.1 * torch.randn(2, 48_000, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        features = encoder.frontend(waveform)
        partials = [encoder.network(features[:, start : start + 160]) for start in starts(48_000)]
        expected = F.normalize(sum(F.normalize(partial) for partial in partials))
        assert len(partials) == 3
        torch.testing.assert_close(encoder(waveform), expected, atol=1e-6, rtol=0)


def test_silence_and_single_frames_are_finite_and_have_gradients(encoder):
    for waveform in (torch.zeros(2, 8000, requires_grad=True), torch.full((2, 400), 0.1, requires_grad=True)):
        embedding = encoder(waveform)
        (gradient,) = torch.autograd.grad(embedding.sum(), waveform)
        assert torch.isfinite(embedding).all()
        assert torch.isfinite(gradient).all()


def test_a_waveform_shorter_than_a_frame_is_named(encoder):
    with pytest.raises(ValueError, match="waveform must have at least 400 samples, got 399"):
        encoder(torch.zeros(2, 399))


@pytest.mark.parametrize("at", ["magnitude", "features"])
def test_it_is_cut_at_representations(encoder, at):
    waveform = 0.1 * torch.randn(2, 30_000, generator=torch.Generator().manual_seed(0))
    split = SplitEncoder(encoder, at)
    with torch.inference_mode():
        torch.testing.assert_close(split(split.represent(waveform)), encoder(waveform), atol=1e-6, rtol=0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA: cuDNN's LSTM has gradients while training only")
def test_gradients_reach_the_waveform_in_evaluation_mode_on_cuda(encoder):
    waveform = (0.1 * torch.randn(1, 30_000)).cuda().requires_grad_()
    encoder.cuda()(waveform).sum().backward()
    encoder.cpu()
    assert waveform.grad.abs().sum() > 0


def test_all_of_it_is_in_evaluation_mode(encoder):
    """So that a certifier takes it: it refuses modules that could be random."""
    assert not any(module.training for module in encoder.modules())
