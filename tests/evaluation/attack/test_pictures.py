import numpy as np
import pytest
import torch

from voxcert.attacks import SaliencyGenerator, bim, ssed
from voxcert.encoders.base import Recognizer
from voxcert.evaluation.attack.pictures import attack_mask, perturbation_figure, picture_path
from voxcert.evaluation.show.figures import save


@pytest.fixture
def waveforms():
    generator = torch.Generator().manual_seed(0)
    time = torch.arange(8000) / 16_000
    clean = 0.3 * torch.sin(2 * torch.pi * 1000 * time)
    return clean, clean + 0.003 * torch.randn(8000, generator=generator)


def titled(figure):
    return {axes.get_title(): axes for axes in figure.axes if axes.get_title()}


def test_draws_the_three_signals_as_they_are(waveforms):
    clean, adversarial = waveforms
    drawn = titled(perturbation_figure(clean, adversarial))
    assert list(drawn) == ["original", "adversarial", "perturbation"]
    for axes, signal in zip(drawn.values(), (clean, adversarial, adversarial - clean), strict=True):
        np.testing.assert_array_equal(axes.lines[0].get_ydata(), signal.numpy())
        assert axes.get_ylim()[1] >= signal.abs().max()
    assert drawn["original"].get_ylim() == drawn["adversarial"].get_ylim()


def test_spectrograms_have_one_scale_whose_top_is_the_loudest_sound(waveforms):
    clean, adversarial = waveforms
    figure = perturbation_figure(clean, adversarial)
    levels = [axes.images[0].get_array() for axes in figure.axes if axes.images and axes.get_xlabel() == "s"]
    assert max(float(level.max()) for level in levels[:2]) == 0
    loudest = np.unravel_index(levels[0].argmax(), levels[0].shape)[0]
    assert loudest == 1000 * 512 / 16_000  # the bin of the tone
    assert float(levels[2].max()) < -20  # noise a hundredth of the tone's amplitude, spread over all bins


def test_a_mask_is_a_fourth_column(waveforms):
    mask = torch.linspace(0, 1, 8000)
    drawn = titled(perturbation_figure(*waveforms, mask))
    assert list(drawn)[3] == "mask"
    np.testing.assert_array_equal(drawn["mask"].lines[0].get_ydata(), mask.numpy())


def test_silence_is_drawn(tmp_path):
    path = tmp_path / picture_path("a/b 1", 0.5)
    save(perturbation_figure(torch.zeros(2000), torch.zeros(2000), title="silence"), path)
    assert path.name == "a%2Fb%201.png"
    assert path.read_bytes().startswith(b"\x89PNG")


def test_only_ssed_has_a_mask(waveforms):
    torch.manual_seed(0)
    network = SaliencyGenerator(channels=[4, 4, 4], dilations=[1]).eval()
    recognizer = Recognizer(torch.nn.Identity(), torch.eye(2), ["a", "b"])
    batch, labels = torch.stack(waveforms), torch.tensor([0, 1])
    assert attack_mask(bim(epsilon=0.1), recognizer, batch, labels) is None
    with torch.no_grad():
        expected = network(batch)[1]
    assert torch.equal(attack_mask(ssed(network=network), recognizer, batch, labels), expected)
