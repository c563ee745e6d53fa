"""What the tests of all networks with wespeaker's names check: names, shapes, outputs and the front-end."""

import torch
import torch.nn.functional as F
import torchaudio.compliance.kaldi as kaldi

from golden import golden_names, golden_state, golden_tensors


def shapes_of(network):
    return {name: list(value.shape) for name, value in network.state_dict().items()}


def assert_published(network, name, rows=slice(None)):
    """The network has the names and shapes of the public one, and its output for the same weights."""
    shapes = golden_names(name)["state_dict"]
    assert shapes_of(network) == shapes
    network.load_state_dict(golden_state(shapes))
    arrays = golden_tensors(name)
    with torch.inference_mode():
        output = network.eval()(arrays["input"][rows])
    expected = arrays["output"][rows]
    assert (output - expected).norm() < 1e-5 * expected.norm()


def assert_hears(encoder, waveform, window, scale):
    """The encoder is its network on torchaudio's filterbank with this window and scale, less its mean over time."""
    features = torch.stack(
        [kaldi.fbank(scale * row[None], num_mel_bins=80, window_type=window, dither=0.0) for row in waveform]
    )
    with torch.inference_mode():
        expected = F.normalize(encoder.network(features - features.mean(dim=1, keepdim=True)))
        torch.testing.assert_close(encoder(waveform), expected, atol=2e-5, rtol=0)
