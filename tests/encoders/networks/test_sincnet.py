import math

import numpy as np
import pytest
import torch
from speechbrain.nnet.CNN import SincConv

from voxcert.encoders.networks.sincnet import FILTER_SAMPLES, Convolutions, LayerNorm, Perceptron, SincConvolution


def test_filters_are_speechbrains_for_the_same_edges():
    ours, theirs = SincConvolution(80), SincConv(80, FILTER_SAMPLES, in_channels=1)
    with torch.no_grad():
        ours.low_hz_[::7] *= -1  # an edge counts by its magnitude
        ours.band_hz_[5] = 9_000  # is cut at the Nyquist frequency
    theirs.low_hz_, theirs.band_hz_, theirs.device = ours.low_hz_, ours.band_hz_, torch.device("cpu")
    torch.testing.assert_close(ours.filters(), theirs._get_sinc_filters()[:, 0], atol=1e-5, rtol=0)


def test_filters_pass_their_band_and_stop_the_rest():
    convolution = SincConvolution(20)
    response = torch.fft.rfft(convolution.filters().detach(), n=16_000).abs()  # one bin per hertz
    low = 50 + convolution.low_hz_.detach()
    high = low + 50 + convolution.band_hz_.detach()
    hz = torch.arange(8_001)
    transition = 250  # a Hamming window of 251 samples smears an edge over 3.3 x 16 kHz / 251
    wide = (high - low)[:, 0] > 2 * transition
    assert wide.sum() > 5
    passed = (hz > low + transition) & (hz < high - transition)
    stopped = (hz < low - transition) | (hz > high + transition)
    gain = response[wide] * 2 * (high - low)[wide] / 16_000  # the ideal filter of that height has gain 1 in its band
    assert (gain[passed[wide]] - 1).abs().max() < 0.02
    assert gain[stopped[wide]].max() < 0.02


def test_edges_start_evenly_spaced_in_mel():
    convolution = SincConvolution(80)
    edges = torch.cat([convolution.low_hz_[:, 0], (convolution.low_hz_ + convolution.band_hz_)[-1]]).detach().numpy()
    mel = 2595 * np.log10(1 + edges / 700)
    assert edges[0] == pytest.approx(30)
    assert edges[-1] == pytest.approx(7_900)
    np.testing.assert_allclose(np.diff(mel), (mel[-1] - mel[0]) / 80, rtol=1e-3)


def test_layer_norm_by_hand():
    norm = LayerNorm(2, 3)
    with torch.no_grad():
        norm.gamma[1], norm.beta[0] = 2, 10
    x = torch.tensor([[[1.0, 2.0, 3.0], [0.0, 0.0, 6.0]]])
    third = 1 / math.sqrt(3)  # (2 - mean) / unbiased deviation of (0, 0, 6)
    expected = torch.tensor([[[9.0, 10.0, 11.0], [-2 * third, -2 * third, 4 * third]]])
    torch.testing.assert_close(norm(x), expected, atol=1e-5, rtol=0)


def test_a_constant_is_normalised_to_the_shift_with_a_finite_gradient():
    x = torch.full((1, 5), 0.25, requires_grad=True)
    y = LayerNorm(5)(x)
    assert torch.equal(y, torch.zeros(1, 5))
    y.square().sum().backward()
    assert torch.isfinite(x.grad).all()


def test_sizes_are_the_published_ones():
    blocks = Convolutions(3200, 80, 60)
    assert [tuple(norm.gamma.shape) for norm in blocks.ln] == [(80, 983), (60, 326), (60, 107)]
    assert blocks.num_features == 6420


def test_the_published_initialisation_is_a_tenth_of_glorots():
    torch.manual_seed(0)
    weight = Perceptron(400, 200).wx[0].weight
    assert weight.abs().max() <= math.sqrt(0.01 / 600)
    assert weight.std().item() == pytest.approx(math.sqrt(0.01 / 600 / 3), rel=0.01)
