"""The checkpoints that come with the project, on speech that they were not trained on."""

from pathlib import Path

import pytest
import torch
from torchmetrics.functional.audio import scale_invariant_signal_distortion_ratio as si_sdr

from voxcert.data import LibriSpeech, crop
from voxcert.purifiers import HashedText, OneShotDenoiser, load_purifier

CHECKPOINTS = Path(__file__).parents[2] / "checkpoints"


@pytest.fixture(scope="module")
def utterances(librispeech):
    """One utterance of each of the ten speakers of test-other: waveforms (10, 48000) and transcripts."""
    speakers = {one.speaker: one for one in LibriSpeech(librispeech, parts=["test-other"]).utterances()}
    chosen = list(speakers.values())
    return torch.stack([crop(one.load(), 48_000) for one in chosen]), [one.text for one in chosen]


@pytest.mark.parametrize(("sigma", "gain"), [(0.01, 4), (0.05, 7), (0.1, 8), (0.25, 7)])
def test_one_shot_denoising(utterances, sigma, gain):
    clean, _ = utterances
    noisy = clean + sigma * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        denoised = OneShotDenoiser(load_purifier(CHECKPOINTS / "dap-mini"), sigma)(noisy)
    improvement = si_sdr(denoised, clean) - si_sdr(noisy, clean)
    assert float(improvement.mean()) > gain
    assert float(improvement.min()) > 0


def test_purified_speech_is_still_the_speech(utterances):
    clean, texts = utterances
    attacked = clean + 9e-4 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0)).sign()
    with torch.no_grad():
        dap = load_purifier(CHECKPOINTS / "dap-mini")(attacked)
        tdap = load_purifier(CHECKPOINTS / "tdap-mini")(attacked, HashedText()(texts))
    assert float(si_sdr(dap, clean).mean()) > 15
    assert float(si_sdr(tdap, clean).mean()) > 15
    difference = (tdap - attacked).abs().mean()
    assert difference > 9e-4  # what was added and taken away is more than the attack
