import json
import pickle

import pytest
import torch
import torch.nn.functional as F
from transformers import Wav2Vec2FeatureExtractor, WavLMConfig, WavLMForXVector

import voxcert
from voxcert.encoders.checkpoint import CheckpointError, save_checkpoint
from voxcert.encoders.loading import load_weights
from voxcert.encoders.wavlm import WavLM

SMALL = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "conv_dim": [8, 8, 8, 8, 8, 8, 8],
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2,
    "tdnn_dim": [16, 16, 16, 16, 32],
    "xvector_output_dim": 24,
    "use_weighted_layer_sum": True,
}


@pytest.fixture
def published(tmp_path):
    """A network with random weights, saved as transformers saves it."""
    torch.manual_seed(0)
    network = WavLMForXVector(WavLMConfig(**SMALL, apply_spec_augment=True)).eval()
    network.save_pretrained(tmp_path / "wavlm")
    Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(tmp_path / "wavlm")
    return network


@torch.no_grad()
def test_agrees_with_transformers(published, waveform, tmp_path):
    encoder = voxcert.load_encoder(tmp_path / "wavlm")
    extract = Wav2Vec2FeatureExtractor(do_normalize=True)
    inputs = extract([row.numpy() for row in waveform], sampling_rate=16_000, return_tensors="pt")
    expected = F.normalize(published(inputs.input_values).embeddings, dim=1)
    torch.testing.assert_close(encoder(waveform), expected, atol=1e-5, rtol=0)
    assert encoder.config["init_args"] == {"architecture": SMALL, "normalize": True}


@torch.no_grad()
def test_the_preprocessor_decides_on_normalisation(published, waveform, tmp_path):
    Wav2Vec2FeatureExtractor(do_normalize=False).save_pretrained(tmp_path / "wavlm")
    encoder = voxcert.load_encoder(tmp_path / "wavlm")
    assert not encoder.normalize
    quiet = 1e-3 * waveform  # loud ones hardly differ: the first layer normalises too
    expected = F.normalize(published(quiet).embeddings, dim=1)
    torch.testing.assert_close(encoder(quiet), expected, atol=1e-5, rtol=0)
    encoder.normalize = True
    assert (encoder(quiet) - expected).abs().max() > 1e-3


@torch.no_grad()
def test_names_of_older_transformers_load(published, waveform, tmp_path):
    """pytorch_model.bin, as the hub has it, is older than the parametrised weight norm."""
    expected = voxcert.load_encoder(tmp_path / "wavlm")(waveform)
    older = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
    state = {}
    for name, value in published.state_dict().items():
        for new, old in older.items():
            name = name.replace(new, old)
        state[name] = value
    assert any(name.endswith("weight_g") for name in state)
    (tmp_path / "wavlm" / "model.safetensors").unlink()
    torch.save(state, tmp_path / "wavlm" / "pytorch_model.bin")
    torch.testing.assert_close(voxcert.load_encoder(tmp_path / "wavlm")(waveform), expected, atol=1e-6, rtol=0)


@torch.no_grad()
def test_weights_load_into_an_encoder_built_from_the_same_numbers(published, waveform, tmp_path):
    encoder = WavLM(SMALL).eval()
    load_weights(encoder, tmp_path / "wavlm")
    torch.testing.assert_close(encoder(waveform), voxcert.load_encoder(tmp_path / "wavlm")(waveform), atol=1e-6, rtol=0)


@torch.no_grad()
def test_a_row_is_the_single_call(waveform):
    torch.manual_seed(0)
    encoder = WavLM(SMALL).eval()
    waveform = waveform * torch.tensor([[1.0], [0.1], [0.01]])
    single = torch.cat([encoder(row[None]) for row in waveform])
    torch.testing.assert_close(single, encoder(waveform), atol=1e-5, rtol=0)


@torch.no_grad()
def test_exported_it_needs_no_transformers_folder(published, waveform, tmp_path):
    encoder = voxcert.load_encoder(tmp_path / "wavlm")
    save_checkpoint(encoder, tmp_path / "exported", {})
    torch.testing.assert_close(
        voxcert.load_encoder(tmp_path / "exported")(waveform), encoder(waveform), atol=1e-6, rtol=0
    )


def test_training_neither_masks_nor_drops_layers(waveform):
    """Without dropout, training mode is a function of the waveform, and every weight has a gradient."""
    dropouts = ("hidden_dropout", "attention_dropout", "activation_dropout", "feat_proj_dropout")
    encoder = WavLM(SMALL | dict.fromkeys(dropouts, 0.0) | {"layerdrop": 1.0, "mask_time_prob": 1.0}).train()
    embedding = encoder(waveform)
    torch.testing.assert_close(encoder(waveform), embedding, atol=1e-6, rtol=0)
    embedding[:, 0].sum().backward()
    assert all(parameter.grad is not None for parameter in encoder.parameters())


def test_unknown_architecture_and_short_waveforms_are_named():
    with pytest.raises(ValueError, match=r"keys of transformers\.WavLMConfig, got hiden_size, return_dict"):
        WavLM({"hiden_size": 16, "return_dict": False})
    with pytest.raises(ValueError, match="at least 2 frames to pool, got 5000 samples"):
        WavLM(SMALL)(torch.zeros(1, 5000))


class Bomb:
    def __reduce__(self):
        return exec, ("raise AssertionError('a pickle was read')",)


def test_foreign_folders_are_refused(published, tmp_path):
    folder = tmp_path / "wavlm"
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"must hold model\.safetensors or pytorch_model\.bin, got neither"):
        voxcert.load_encoder(folder)
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(CheckpointError, match="cannot be read"):
        voxcert.load_encoder(folder)
    torch.save({"layer_weights": Bomb()}, folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="cannot be read"):
        voxcert.load_encoder(folder)
    torch.save({"wavlm.nothing": torch.zeros(1)}, folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="lacks weights of a WavLM x-vector"):
        voxcert.load_encoder(folder)
    (folder / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(CheckpointError, match="model_type must be 'wavlm', got 'bert'"):
        voxcert.load_encoder(folder)
    (folder / "config.json").write_text("[1]")
    with pytest.raises(CheckpointError, match="must hold a mapping"):
        voxcert.load_encoder(folder)
