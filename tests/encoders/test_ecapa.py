import pytest
import torch
from speechbrain.lobes.features import Fbank
from speechbrain.lobes.models.ECAPA_TDNN import ECAPA_TDNN
from speechbrain.processing.features import InputNormalization

from voxcert.encoders.ecapa import ECAPA
from voxcert.encoders.loading import load_weights


def test_embeddings_are_unit_and_rows_equal_single_calls(tiny, waveform):
    embedding = tiny(waveform)
    assert embedding.shape == (3, 24)
    torch.testing.assert_close(embedding.norm(dim=-1), torch.ones(3))
    for row, single in zip(embedding, waveform, strict=True):
        torch.testing.assert_close(tiny(single[None])[0], row, atol=1e-5, rtol=0)


def test_gradients_reach_the_waveform(tiny, waveform):
    waveform.requires_grad_()
    tiny(waveform)[:, 0].sum().backward()
    assert torch.isfinite(waveform.grad).all()
    assert (waveform.grad != 0).float().mean() > 0.9


def test_works_under_autocast(tiny, waveform):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        embedding = tiny(waveform)
    assert embedding.dtype == torch.float32
    assert (embedding * tiny(waveform)).sum(dim=-1).min() > 0.99


def test_published_layout_gives_speechbrains_own_embedding(tmp_path, waveform):
    """The published model is this pipeline; random weights stand in for the published ones."""
    torch.manual_seed(0)
    network = ECAPA_TDNN(80, lin_neurons=24, channels=[16] * 4 + [48], attention_channels=8, se_channels=8).eval()
    torch.save(network.state_dict(), tmp_path / "embedding_model.ckpt")
    features = InputNormalization(norm_type="sentence", std_norm=False)(Fbank(n_mels=80)(waveform), torch.ones(3))
    expected = torch.nn.functional.normalize(network(features).squeeze(1), dim=-1)

    encoder = ECAPA(channels=16, mfa_channels=48, dim=24, attention_channels=8, se_channels=8).eval()
    load_weights(encoder, tmp_path)
    torch.testing.assert_close(encoder(waveform), expected, atol=1e-6, rtol=0)


def test_default_is_the_published_architecture():
    encoder = ECAPA()
    assert encoder.dim == 192
    # 20.8 M parameters: speechbrain/spkrec-ecapa-voxceleb.
    assert sum(parameter.numel() for parameter in encoder.network.parameters()) == 20_767_552


def test_impossible_widths_are_named():
    with pytest.raises(ValueError, match="channels must be a multiple of res2net_scale=8, got 20"):
        ECAPA(channels=20)
