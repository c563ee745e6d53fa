import math

import numpy as np
import pytest
import torch
from linear import speech_like
from scipy.signal import lfilter

from voxcert.attacks import Audibility
from voxcert.attacks.psychoacoustics import MaskingThreshold

TIME = 4000


def tone(hertz, amplitude):
    return amplitude * torch.sin(2 * math.pi * hertz / 16_000 * torch.arange(TIME))[None]


def spectrogram(waveform):
    """Power (frames, bins) of one waveform between silences, by numpy, without a model's scale."""
    padded = np.pad(waveform[0].double().numpy(), 512)
    frames = np.lib.stride_tricks.sliding_window_view(padded, 512)[::160]
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(512) / 512)
    return np.abs(np.fft.rfft(window * frames)) ** 2


def test_measures_agree_with_their_definitions():
    clean, perturbation = speech_like(1, TIME), 0.5 * speech_like(1, TIME, seed=2)
    level = MaskingThreshold()(torch.nn.functional.pad(clean, (512, 512)))[0, :, 1:].double().numpy()
    threshold = 10 ** (level / 10)
    power = (10**9.6 / spectrogram(clean).max() * spectrogram(perturbation))[:, 1:]  # without the bin at 0 Hz
    above = power > threshold
    assert 0.05 < above.mean() < 0.95
    audibility = Audibility(clean)
    assert audibility.bins(perturbation).item() == pytest.approx(above.mean(), abs=1e-4)
    assert audibility.energy(perturbation).item() == pytest.approx((power * above).sum() / power.sum(), abs=1e-4)
    assert audibility.loss(perturbation).item() == pytest.approx(((power - threshold) * above).mean(), rel=1e-3)


def test_a_tone_hides_what_is_near_it_and_quieter():
    audibility = Audibility(tone(2000, 0.5))
    # A tone of 96 dB hides 88.1 dB in its bin, 85.3 and 87.5 dB in the bins around it. The Hann window puts two thirds
    # of a tone's energy into its bin, and a sixth, 6 dB less, into either neighbour; frames at the ends blur this.
    for decibel, share in {0: 1, -5: 2 / 3, -10: 0}.items():
        assert audibility.energy(tone(2000, 0.5 * 10 ** (decibel / 20))).item() == pytest.approx(share, abs=0.05)
    assert audibility.energy(tone(2100, 0.5 * 10 ** (-30 / 20))) < 0.1
    assert audibility.energy(tone(1000, 0.5 * 10 ** (-30 / 20))) > 0.9  # 4 Bark below: 110 dB down


def test_what_is_below_the_threshold_in_quiet_costs_nothing():
    clean, tiny = speech_like(2, TIME), 1e-7 * speech_like(2, TIME, seed=2)
    for measure in (Audibility(clean).loss, Audibility(clean).energy, Audibility(clean).bins):
        assert (measure(tiny) == 0).all()
        assert (measure(torch.zeros_like(clean)) == 0).all()


@pytest.mark.parametrize("place", [0, 1, 2000, TIME - 1])
def test_a_click_is_heard_wherever_it_is(place):
    click = torch.zeros(1, TIME)
    click[0, place] = 0.5
    audibility = Audibility(tone(300, 0.01))
    assert audibility.energy(click) > 0.9


def test_rows_do_not_influence_each_other():
    clean, perturbation = speech_like(3, TIME), 0.02 * speech_like(3, TIME, seed=2)
    clean[1] /= 10
    together = Audibility(clean).loss(perturbation)
    alone = torch.cat([Audibility(clean[row, None]).loss(perturbation[row, None]) for row in range(3)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=0)


def test_the_loss_is_differentiable():
    clean, perturbation = speech_like(2, 60).double(), 0.1 * speech_like(2, 60, seed=2).double()
    audibility = Audibility(clean, MaskingThreshold(window_samples=16, hop_samples=4))
    assert (audibility.loss(perturbation) > 0).all()
    # In units of the loss itself: its powers are of order 1e9.
    scale = audibility.loss(perturbation).sum()
    assert torch.autograd.gradcheck(lambda moved: audibility.loss(moved) / scale, perturbation.requires_grad_())


class As(MaskingThreshold):
    """A model by which exactly the powers of one perturbation stay unheard."""

    def __init__(self, clean, perturbation):
        super().__init__()
        surrounded = [torch.nn.functional.pad(one, (512, 512)) for one in (clean, perturbation)]
        _, peak = self.double().level(surrounded[0])
        self.limit = 10 * (10 ** ((96 - peak) / 10) * self.power(surrounded[1])).log10()

    def combine(self, level, maskers):
        """(batch, frames, bins) in dB."""
        return self.limit


def test_the_norm_bound_is_parsevals_theorem():
    """Where the threshold is the perturbation's own power, the bound is its norm, as far as windows overlap evenly."""
    clean, perturbation = speech_like(1, TIME).double(), speech_like(1, TIME, seed=2).double()
    model = As(clean, perturbation)
    bound, norm = Audibility(clean, model).norm_bound().item(), perturbation.norm().item()
    window = np.hanning(513)[:512] ** 2
    overlap = np.pad(window, (0, 128)).reshape(4, 160).sum(axis=0)
    assert norm <= bound <= norm * (overlap.max() / overlap.min()) ** 0.5 + 1e-9


@pytest.mark.parametrize("windows", [(512, 160), (64, 16), (64, 24)])
def test_no_hidden_perturbation_is_louder_than_the_norm_bound(windows):
    audibility = Audibility(speech_like(1, 2000).double(), MaskingThreshold(*windows))
    bound = audibility.norm_bound().item()
    rng = np.random.default_rng(0)
    for colour in (0.0, 0.9, 0.99):  # from white noise to what is loud where speech is
        noise = lfilter([1], [1, -colour], rng.standard_normal(2000))
        assert hidden(torch.from_numpy(noise)[None], audibility).norm() < bound


def hidden(perturbation, audibility):
    """The perturbation, so loud that it just touches the threshold."""
    worst = (audibility._power(perturbation) / audibility._threshold).amax().sqrt()
    touching = perturbation / worst
    assert audibility.bins(0.9999 * touching) == 0
    return touching


def test_the_loudest_hidden_perturbation_comes_near_the_norm_bound():
    audibility = Audibility(speech_like(1, 2000).double())
    change = torch.randn(1, 2000, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    adam = torch.optim.Adam([change], lr=0.05)
    loudest = 0.0
    for step in range(600):
        ratio = (audibility._power(change) / audibility._threshold).log().flatten()
        sharpness = 2 + 40 * step / 600
        loss = torch.logsumexp(sharpness * ratio, dim=0) / sharpness - change.square().sum().log()
        (change.grad,) = torch.autograd.grad(loss, change)
        adam.step()
        loudest = max(loudest, hidden(change.detach(), audibility).norm().item())
    assert 0.8 < loudest / audibility.norm_bound().item() <= 1


def test_the_norm_bound_follows_the_loudness_of_the_speech():
    """The loudest sound is played at 96 dB whatever it is, so a quieter recording hides just as much less."""
    clean = speech_like(2, TIME).double()
    both = Audibility(torch.cat([clean, clean / 10])).norm_bound()
    torch.testing.assert_close(both[:2] / 10, both[2:], rtol=1e-9, atol=0)
