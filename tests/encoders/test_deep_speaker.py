import pickle

import h5py
import numpy as np
import pytest
import torch

import voxcert
from voxcert.encoders.checkpoint import CheckpointError, save_checkpoint
from voxcert.encoders.deep_speaker import DeepSpeaker, MelEnergies, load_deep_speaker

# The layers as deep-speaker names them, in the order in which it builds them, for a network that is 4 channels wide.
CONVOLUTIONS = [
    *("conv4-s", "res1_0_branch_2a", "res1_0_branch_2b", "res1_1_branch_2a", "res1_1_branch_2b"),
    *("res1_2_branch_2a", "res1_2_branch_2b", "conv8-s", "res2_0_branch_2a", "res2_0_branch_2b"),
    *("res2_1_branch_2a", "res2_1_branch_2b", "res2_2_branch_2a", "res2_2_branch_2b", "conv16-s"),
    *("res3_0_branch_2a", "res3_0_branch_2b", "res3_1_branch_2a", "res3_1_branch_2b", "res3_2_branch_2a"),
    *("res3_2_branch_2b", "conv32-s", "res4_0_branch_2a", "res4_0_branch_2b", "res4_1_branch_2a"),
    *("res4_1_branch_2b", "res4_2_branch_2a", "res4_2_branch_2b"),
]


@pytest.fixture
def tiny():
    torch.manual_seed(0)
    encoder = DeepSpeaker(num_mels=32, channels=4, dim=12)
    with torch.no_grad():
        encoder(0.1 * torch.randn(4, 8_000))  # running statistics that are not those of a fresh layer
        for parameter in encoder.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
    return encoder.eval()


def write_keras(encoder, path, group=""):
    """Writes a file as Keras does; modules come in the order of the layers."""
    convolutions = [module for module in encoder.modules() if isinstance(module, torch.nn.Conv2d)]
    norms = [module for module in encoder.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    with h5py.File(path, "w") as file:
        for name, conv, norm in zip(CONVOLUTIONS, convolutions, norms, strict=True):
            write_layer(file, group, name, kernel=conv.weight.permute(2, 3, 1, 0), bias=conv.bias)
            means = {"moving_mean": norm.running_mean, "moving_variance": norm.running_var}
            write_layer(file, group, f"{name}_bn", gamma=norm.weight, beta=norm.bias, **means)
        affine = encoder.network.affine
        write_layer(file, group, "affine", kernel=affine.weight.T, bias=affine.bias)
        file.create_group(f"{group}clipped_relu_0")


def write_layer(file, group, layer, **weights):
    for name, value in weights.items():
        file[f"{group}{layer}/{layer}/{name}:0"] = value.detach().numpy()


def mel_energies(signal, num_mels):
    """python_speech_features.fbank by its formulas, frame by frame in float64, then normalised."""
    emphasised = np.concatenate([signal[:1], signal[1:] - 0.97 * signal[:-1]])
    num_frames = 1 if len(signal) <= 400 else 1 + int(np.ceil((len(signal) - 400) / 160))
    padded = np.zeros(400 + 160 * (num_frames - 1))
    padded[: len(signal)] = emphasised
    edges = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + 8000 / 700), num_mels + 2) / 2595) - 1)
    edges = np.floor(513 * edges / 16_000).astype(int)
    rows = []
    for start in range(0, 160 * num_frames, 160):
        power = np.abs(np.fft.rfft(padded[start : start + 400], 512)) ** 2 / 512
        energies = np.zeros(num_mels)
        for band, (low, peak, high) in enumerate(zip(edges, edges[1:], edges[2:], strict=False)):
            energies[band] += sum(power[k] * (k - low) / (peak - low) for k in range(low, peak))
            energies[band] += sum(power[k] * (high - k) / (high - peak) for k in range(peak, high))
        rows.append((energies - energies.mean()) / max(energies.std(), 1e-12))
    return np.stack(rows)


@pytest.mark.parametrize("time", [400, 401, 561, 4_000])
@pytest.mark.parametrize("num_mels", [32, 64])
def test_front_end_follows_the_formulas(time, num_mels):
    signal = 0.1 * np.random.default_rng(0).standard_normal(time)
    frontend = MelEnergies(num_mels)
    waveform = torch.from_numpy(signal)[None]
    expected = torch.from_numpy(mel_energies(signal, num_mels)).float()
    magnitude = frontend.magnitude(waveform)
    assert magnitude.shape == (1, len(expected), frontend.num_bins)
    torch.testing.assert_close(frontend.features(magnitude)[0], expected, atol=1e-4, rtol=0)
    torch.testing.assert_close(frontend(waveform)[0], expected, atol=1e-4, rtol=0)


def test_published_frames_need_25_840_samples():
    assert MelEnergies(64).magnitude(torch.zeros(1, 25_840)).shape == (1, 160, 257)


def test_silence_has_zero_features_and_a_finite_gradient(tiny):
    waveform = torch.zeros(1, 1_000, requires_grad=True)
    assert torch.equal(tiny.frontend(waveform), torch.zeros(1, 5, 32))
    tiny(waveform).sum().backward()
    assert torch.isfinite(waveform.grad).all()


@pytest.mark.parametrize("group", ["", "model_weights/"])
def test_a_published_folder_loads(group, tiny, tmp_path, waveform):
    write_keras(tiny, tmp_path / "ResCNN_triplet_training_checkpoint_265.h5", group)
    loaded = voxcert.load_encoder(tmp_path)
    assert not loaded.training
    assert loaded.config == tiny.config
    assert torch.equal(loaded(waveform), tiny(waveform))


def test_the_classifier_of_pre_training_is_dropped(tiny, tmp_path, waveform):
    path = tmp_path / "ResCNN_softmax_pre_training_checkpoint_102.h5"
    write_keras(tiny, path)
    with h5py.File(path, "a") as file:
        write_layer(file, "", "dense", kernel=torch.ones(12, 7), bias=torch.ones(7))
    assert torch.equal(load_deep_speaker(path)(waveform), tiny(waveform))


def test_checkpoint_folder_round_trip(tiny, tmp_path, waveform):
    save_checkpoint(tiny, tmp_path / "folder", {})
    assert torch.equal(voxcert.load_encoder(tmp_path / "folder")(waveform), tiny(waveform))


def test_weights_that_do_not_fit_are_refused(tiny, tmp_path):
    path = tmp_path / "x.h5"
    for layer, weights, reason in [
        ("res2_0_branch_2a", None, r"Missing key.*stages\.1\.blocks\.0\.conv1\.weight"),
        ("affine", None, "affine"),
        ("extra", {"kernel": torch.ones(2, 2)}, r"Unexpected key.*extra\.weight"),
        ("conv8-s_bn", {"gamma": torch.ones(3)}, r"size mismatch for stages\.1\.bn\.weight"),
    ]:
        write_keras(tiny, path)
        with h5py.File(path, "a") as file:
            file.pop(layer, None)
            write_layer(file, "", layer, **weights or {})
        with pytest.raises(CheckpointError, match=rf"(?s)x\.h5 does not hold.*Deep Speaker.*{reason}"):
            load_deep_speaker(path)


class Bomb:
    def __reduce__(self):
        return exec, ("raise AssertionError('a pickle was read')",)


def test_a_program_posing_as_weights_is_never_run(tmp_path):
    (tmp_path / "x.h5").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(CheckpointError, match=r"x\.h5 cannot be read"):
        load_deep_speaker(tmp_path / "x.h5")


def test_impossible_bands_are_named():
    with pytest.raises(ValueError, match="num_mels must be a positive multiple of 16, got 40"):
        DeepSpeaker(num_mels=40)
