"""Reverberation, babble and backgrounds: what is added, how loud, and that nothing else changes."""

import math

import numpy as np
import pytest
import soundfile
import torch
from scipy.signal import fftconvolve

from tiny import TINY
from voxcert.encoders.checkpoint import save_checkpoint
from voxcert.encoders.ecapa import ECAPA
from voxcert.training.augmentation import Augmentation, Babble, Background, Reverberation
from voxcert.training.distillation import Distillation
from voxcert.training.encoder_module import EncoderModule

RATE = 16_000


class Reverse(Augmentation):
    """Plays backwards, twice as loud."""

    def change(self, waveform, label, chosen):
        """The chosen waveforms, backwards."""
        return 2 * waveform[chosen].flip(-1)


def tones(num=4, num_samples=RATE):
    """A tone for each speaker: frequencies on the grid, so that they are orthogonal."""
    frequency = 200 * (1 + torch.arange(num))[:, None]
    return 0.1 * torch.sin(2 * math.pi * frequency * torch.arange(num_samples) / RATE)


def shares(mixed, sources):
    """The amplitude of every source (sources, time) in every mix (batch, time)."""
    return mixed @ sources.T / (sources**2).sum(dim=-1)


def write(path, waveform):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, waveform.numpy() if isinstance(waveform, torch.Tensor) else waveform, RATE)


@pytest.fixture
def music(tmp_path):
    """A folder with one long file, a tone of 3,000 Hz."""
    write(tmp_path / "music" / "deep" / "one.wav", 0.5 * torch.sin(2 * math.pi * 3000 * torch.arange(3 * RATE) / RATE))
    return str(tmp_path / "music")


def test_a_share_of_the_examples_is_changed_and_keeps_its_loudness():
    torch.manual_seed(0)
    waveform = 0.1 * torch.randn(2000, 16)
    changed = Reverse(0.25)(waveform, torch.zeros(2000))
    moved = (changed != waveform).any(dim=-1)
    assert 430 < moved.sum() < 570  # 500, give or take 3.6 standard deviations
    torch.testing.assert_close(changed[moved], waveform[moved].flip(-1))


def test_peaks_stay_in_range():
    """What would have to be louder than 1 at its peak to keep its loudness is as loud as fits."""

    class Click(Augmentation):
        def change(self, waveform, label, chosen):
            return torch.zeros_like(waveform[chosen]).index_fill(1, torch.tensor([3]), 0.1)

    clicked = Click(1.0)(0.9 * torch.ones(2, 100), torch.zeros(2))
    assert clicked.max() == 1
    assert Click(1.0)(torch.zeros(1, 100), torch.zeros(1)).abs().max() == 0  # silence stays silence


def test_draws_follow_the_global_seed(music):
    for augmentation in (Reverberation(0.5), Babble(0.5), Background(music, 0.5)):
        draws = []
        for seed in (1, 1, 2):
            torch.manual_seed(seed)
            draws.append(augmentation(tones(), torch.arange(4)))
        assert torch.equal(draws[0], draws[1])
        assert not torch.equal(draws[0], draws[2])


def test_babble_is_of_other_speakers_at_the_ratio_asked():
    torch.manual_seed(0)
    waveform = tones(5)
    label = torch.tensor([0, 1, 1, 2, 3])
    mixed = Babble(1.0, num_voices=9, snr_db=(6.0, 6.0)).change(waveform, label, torch.arange(5))
    added = mixed - waveform
    power = waveform.norm(dim=-1) / added.norm(dim=-1)
    torch.testing.assert_close(20 * power.log10(), torch.full((5,), 6.0), atol=1e-3, rtol=0)
    spectrum = torch.fft.rfft(added).abs()[:, 200:1200:200]  # of the five tones
    heard = spectrum > 1
    assert torch.equal(heard, label[:, None] != label[None])  # never oneself, nor another crop of oneself


def test_the_number_of_voices_is_kept_and_nobody_to_babble_is_no_babble():
    torch.manual_seed(0)
    waveform = tones(8)
    mixed = Babble(1.0, num_voices=3).change(waveform, torch.arange(8), torch.arange(8))
    heard = torch.fft.rfft(mixed - waveform).abs()[:, 200:1800:200] > 1
    assert (heard.sum(dim=1) == 3).all()
    alone = Babble(1.0)(waveform, torch.zeros(8))
    torch.testing.assert_close(alone, waveform)


@pytest.mark.parametrize("snr_db", [(0.0, 0.0), (5.0, 15.0)])
def test_background_is_the_recording_at_the_ratio_asked(music, snr_db):
    torch.manual_seed(0)
    waveform = tones(6)
    mixed = Background(music, 1.0, snr_db).change(waveform, torch.arange(6), torch.arange(6))
    added = mixed - waveform
    ratio = 20 * (waveform.norm(dim=-1) / added.norm(dim=-1)).log10()
    assert ratio.min() > snr_db[0] - 0.01
    assert ratio.max() < snr_db[1] + 0.01
    spectrum = torch.fft.rfft(added).abs()
    assert (spectrum.argmax(dim=-1) == 3000).all()
    assert not torch.allclose(added[0] / added[0].norm(), added[1] / added[1].norm())  # another place of the file


def test_short_and_silent_recordings(tmp_path):
    torch.manual_seed(0)
    write(tmp_path / "short" / "one.wav", 0.1 * torch.randn(RATE // 4))
    waveform = tones(2)
    added = Background(str(tmp_path / "short"), 1.0).change(waveform, torch.arange(2), torch.arange(2)) - waveform
    torch.testing.assert_close(added[:, : RATE // 4], added[:, RATE // 4 : RATE // 2], atol=1e-5, rtol=0)
    late = torch.cat([torch.zeros(20 * RATE), 0.1 * torch.randn(RATE)])
    write(tmp_path / "late" / "one.wav", late)
    mixed = Background(str(tmp_path / "late"), 1.0)(waveform, torch.arange(2))
    assert torch.isfinite(mixed).all()


def test_a_recorded_room_is_a_convolution_that_keeps_the_direct_sound_in_place(tmp_path):
    rng = np.random.default_rng(0)
    response = np.concatenate([np.zeros(40), [0.9], 0.05 * rng.standard_normal(400)])
    write(tmp_path / "rooms" / "one.wav", response)
    waveform = 0.1 * torch.randn(2, 4000, generator=torch.Generator().manual_seed(0))
    heard = Reverberation(1.0, folder=str(tmp_path / "rooms")).change(waveform, torch.arange(2), torch.arange(2))
    expected = fftconvolve(waveform.double().numpy(), response[None, 40:], axes=1)[:, :4000]
    np.testing.assert_allclose(heard.numpy(), expected, atol=3e-4)  # the file has 16 bits


def test_made_rooms_decay_by_60_db_in_their_time_at_the_ratio_asked():
    torch.manual_seed(0)
    response = Reverberation(1.0, seconds=(0.5, 0.5), ratio_db=(3.0, 3.0))._made(400, RATE)
    assert (response[:, 0] == 1).all()
    tail = (response[:, 1:] ** 2).mean(dim=0)
    assert 10 * math.log10(tail.sum()) == pytest.approx(-3.0, abs=1e-3)
    early, late = tail[:800].mean(), tail[4000:4800].mean()  # a quarter of a second apart
    assert 10 * math.log10(early / late) == pytest.approx(30, abs=0.5)


def test_reverberation_of_a_click_is_the_response_and_later_only():
    torch.manual_seed(0)
    click = torch.zeros(1, 8000)
    click[0, 1000] = 0.5
    heard = Reverberation(1.0).change(click, torch.zeros(1), torch.arange(1))
    assert heard[0, :1000].abs().max() < 1e-6
    assert heard[0, 1000].item() == pytest.approx(0.5, abs=1e-5)
    assert heard[0, 1001:].norm() > 0.05


def test_the_student_hears_them_and_the_teacher_does_not(tmp_path):
    torch.manual_seed(0)
    save_checkpoint(ECAPA(**TINY), tmp_path / "start", {})
    options = {"distillation": Distillation(), "init_from": str(tmp_path / "start"), "classification_weight": 0.0}
    module = EncoderModule(ECAPA(**TINY), 4, augmentations=[Reverse(1.0), Babble(1.0)], **options)
    module.log = module.log_dict = lambda *_, **__: None
    heard = {"student": [], "teacher": []}
    module.encoder.register_forward_pre_hook(lambda _, args: heard["student"].append(args[0]))
    module.distillation._teacher[0].register_forward_pre_hook(lambda _, args: heard["teacher"].append(args[0]))
    batch = {"waveform": tones(), "label": torch.arange(4)}
    module.training_step(batch, 0)
    assert torch.equal(heard["teacher"][0], tones())
    assert (shares(heard["student"][0], tones().flip(-1)).diagonal() > 0.9).all()
    assert not torch.allclose(heard["student"][0], tones().flip(-1), atol=1e-3)
    assert torch.equal(batch["waveform"], tones())  # the batch itself stays


@pytest.mark.parametrize("make", [lambda folder: Background(folder), lambda folder: Reverberation(folder=folder)])
def test_a_folder_without_audio_is_told(make, tmp_path):
    with pytest.raises(ValueError, match="folder must be an existing folder, got '.*nowhere'"):
        make(str(tmp_path / "nowhere"))
    (tmp_path / "notes.txt").write_text("no music")
    (tmp_path / "song.m4a").write_bytes(b"")
    with pytest.raises(ValueError, match=r"folder must hold audio files, got .* with none; 1 passed over .*song\.m4a"):
        make(str(tmp_path))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Babble(0.0), r"probability must be in \(0, 1\], got 0.0"),
        (lambda: Babble(num_voices=0), "num_voices must be at least 1, got 0"),
        (lambda: Babble(snr_db=(5.0, 1.0)), "snr_db must be a smallest and a largest value, got 5.0 and 1.0"),
        (lambda: Reverberation(seconds=(0.0, 1.0)), "seconds must be a smallest and a largest value above 0, got 0.0"),
        (
            lambda: Reverberation(ratio_db=(0.0, math.nan)),
            "ratio_db must be a smallest and a largest value, got 0.0 and",
        ),
    ],
)
def test_bad_settings_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
