import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.signal import argrelmax

from voxcert.attacks.psychoacoustics import MaskingThreshold, bark, threshold_in_quiet

GOLDEN = Path(__file__).parents[1] / "golden" / "psychoacoustic-art.npz"
HERTZ = torch.linspace(0, 8000, 257, dtype=torch.float64)
BARK = bark(HERTZ).numpy()


@pytest.fixture(scope="module")
def golden():
    return np.load(GOLDEN)


def candidates(level):
    """Indices and strengths of the audible local maxima of one frame, by scipy."""
    index = argrelmax(level)[0]
    strength = 10 * np.log10(sum(10 ** (level[index + offset] / 10) for offset in (-1, 0, 1)))
    audible = strength > threshold_in_quiet(HERTZ).numpy()[index]
    return index[audible], strength[audible]


def thinned(level):
    """The published rule: of two maskers within half a Bark the stronger one stays, from low frequencies to high."""
    left = []
    for index, strength in zip(*candidates(level), strict=True):
        if left and BARK[index] - BARK[left[-1][0]] < 0.5:
            if strength <= left[-1][1]:
                continue
            left.pop()
        left.append((index, strength))
    return [index for index, _ in left]


def thinned_as_in_the_toolbox(level):
    """What the toolbox does: it looks up the Barks of the maskers' places in their list, not of their frequencies."""
    index, strength = candidates(level)
    kept, last = np.ones(len(index), dtype=bool), 0
    for place in range(1, len(index)):
        if BARK[place] - BARK[last] >= 0.5:
            last = place
        elif strength[last] < strength[place]:
            kept[last], last = False, last + 1
        else:
            kept[place] = False
    return index[kept]


def mask(level, rule):
    """Maskers (1, frames, bins) that a rule for one frame chooses."""
    maskers = torch.zeros_like(level, dtype=torch.bool)
    for frame, one in enumerate(level[0].double().numpy()):
        maskers[0, frame, rule(one)] = True
    return maskers


def test_level_agrees_with_the_toolbox(golden):
    level, peak = MaskingThreshold().level(torch.from_numpy(golden["waveform"])[None])
    assert peak.item() == pytest.approx(golden["psd_maximum"], abs=1e-4)
    assert level.amax().item() == 96


def test_threshold_agrees_with_the_toolbox_for_the_maskers_that_it_keeps(golden):
    model = MaskingThreshold()
    level, _ = model.level(torch.from_numpy(golden["waveform"])[None])
    frames = slice(None, None, 3)
    threshold = model.combine(level[:, frames], mask(level[:, frames], thinned_as_in_the_toolbox))
    # Both are in float32; a bin 100 dB below the peak has a level good to about 1e-3 dB. Measured: at most 1.2e-3.
    np.testing.assert_allclose(threshold[0].T, golden["threshold"][:, frames], rtol=0, atol=5e-3)


def test_maskers_are_thinned_by_the_published_rule(golden):
    model = MaskingThreshold()
    level = model.level(torch.from_numpy(golden["waveform"])[None])[0][:, ::3]
    ours = model.maskers(level)
    assert torch.equal(ours, mask(level, thinned))
    assert not torch.equal(ours, mask(level, thinned_as_in_the_toolbox))
    for frame in ours[0]:
        assert (np.diff(BARK[frame.numpy()]) >= 0.5).all()


def test_a_tone_is_one_masker_with_two_slopes():
    center = 64  # 2 kHz
    tone = 0.5 * torch.sin(2 * math.pi * center / 512 * torch.arange(4000))
    threshold = MaskingThreshold()(tone[None])[0, 3].double()
    strength = 96 + 10 * math.log10(1 + 2 / 4)  # a Hann window puts a quarter of the power into either neighbour
    offset = strength - 6.025 - 0.275 * BARK[center]
    for index, slope in {60: 27, 64: 0, 68: -27 + 0.37 * (strength - 40)}.items():
        masked = offset + slope * (BARK[index] - BARK[center])
        expected = 10 * math.log10(10 ** (masked / 10) + 10 ** (threshold_in_quiet(HERTZ)[index].item() / 10))
        assert threshold[index].item() == pytest.approx(expected, abs=1e-2)


def test_frequencies_have_their_published_values():
    # Zwicker 1961, table 1: the edges of critical bands 2, 8 and 20; the curve is good to 0.2 Bark.
    torch.testing.assert_close(
        bark(torch.tensor([200.0, 920.0, 6400.0])), torch.tensor([2.0, 8.0, 20.0]), rtol=0, atol=0.2
    )
    # By hand: 3.64 - 6.5 exp(-0.6 2.3^2) + 0.001 = 3.37.
    assert threshold_in_quiet(torch.tensor(1000.0)).item() == pytest.approx(3.37 - 12, abs=0.01)
    assert threshold_in_quiet(torch.tensor([0.0, 19.9])).isneginf().all()
    assert threshold_in_quiet(HERTZ).nan_to_num(neginf=torch.inf).argmin() == pytest.approx(3300 / 31.25, abs=2)


def test_the_threshold_follows_the_playback_level_not_the_recording(golden):
    waveform = torch.from_numpy(golden["waveform"])[None, 8000:12000]
    model = MaskingThreshold()
    together = model(torch.cat([waveform, waveform / 8, waveform.flip(1)]))
    torch.testing.assert_close(together[:1], model(waveform), rtol=0, atol=1e-3)
    torch.testing.assert_close(together[1:2], model(waveform), rtol=0, atol=1e-3)


def test_silence_masks_nothing():
    threshold = MaskingThreshold()(torch.zeros(1, 1000))
    torch.testing.assert_close(threshold, threshold_in_quiet(HERTZ).float().expand_as(threshold), rtol=0, atol=1e-4)


@pytest.mark.parametrize("hop_samples", [0, 513])
def test_hops_outside_the_window_are_named(hop_samples):
    with pytest.raises(ValueError, match=rf"hop_samples must lie in \[1, window_samples=512\], got {hop_samples}"):
        MaskingThreshold(hop_samples=hop_samples)


def test_waveforms_shorter_than_the_window_are_named():
    with pytest.raises(ValueError, match="waveform must have at least 512 samples, got 511"):
        MaskingThreshold()(torch.zeros(1, 511))
