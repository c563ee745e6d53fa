import pickle

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.signal import lfilter
from torchaudio.transforms import MelSpectrogram

import voxcert
from golden import golden_names, golden_state, golden_tensors
from voxcert.encoders.checkpoint import CheckpointError, save_checkpoint
from voxcert.encoders.fast_resnet import FastResNet34, StandardizedLogMel, load_voxceleb_trainer

PUBLISHED = {
    "sap": ("voxceleb_trainer-resnetse34l", {}),
    "asp": ("voxceleb_trainer-resnetse34v2", {"variant": "asp", "channels": 32, "num_mels": 64}),
}
TINY = {
    "sap": {"variant": "sap", "channels": 8, "num_mels": 20, "dim": 12},
    "asp": {"variant": "asp", "channels": 8, "num_mels": 16, "dim": 12},
}
variants = pytest.mark.parametrize("variant", ["sap", "asp"])


def published_state(encoder):
    """The state dict under the published names: the front-end is inside the network there."""
    asp = encoder.config["init_args"]["variant"] == "asp"
    mel = "torchfb.1." if asp else "torchfb."
    names = {
        "frontend.window": f"{mel}spectrogram.window",
        "frontend.mel_banks": f"{mel}mel_scale.fb",
        "frontend.flipped_filter": "torchfb.0.flipped_filter",
    }
    return {names.get(name, name.removeprefix("network.")): value for name, value in encoder.state_dict().items()}


@pytest.fixture
def tiny(variant):
    torch.manual_seed(0)
    encoder = FastResNet34(**TINY[variant])
    with torch.no_grad():
        encoder(0.1 * torch.randn(4, 8_000))  # running statistics that are not those of a fresh layer
    return encoder.eval()


@variants
def test_published_names_load_and_give_the_published_output(variant, tmp_path):
    name, arguments = PUBLISHED[variant]
    fresh = FastResNet34(**arguments)
    shapes = golden_names(name)["state_dict"]
    own = published_state(fresh)
    assert {key: list(value.shape) for key, value in own.items()} == shapes
    constants = {key: value for key, value in own.items() if key.startswith("torchfb.")}
    torch.save(golden_state(shapes) | constants, tmp_path / "golden.model")

    encoder, arrays = load_voxceleb_trainer(tmp_path / "golden.model"), golden_tensors(name)
    assert encoder.config == fresh.config
    with torch.no_grad():
        output = encoder.embed(arrays["input"])
    scale = arrays["output"].abs().max()
    torch.testing.assert_close(output / scale, arrays["output"] / scale, atol=1e-5, rtol=0)


@pytest.mark.parametrize("preemphasis", [False, True])
def test_front_end_is_torchaudios_standardised_by_hand(preemphasis, waveform):
    filtered = waveform
    if preemphasis:
        mirrored = torch.cat([waveform[:, 1:2], waveform], dim=1)
        # In float32, as published: the lowest bands hold so little that the filter's rounding shows in their logarithm.
        filtered = torch.from_numpy(lfilter(np.float32([1, -0.97]), np.float32(1), mirrored.numpy()))[:, 1:]
    mel = MelSpectrogram(16_000, 512, 400, 160, n_mels=40, window_fn=torch.hamming_window)
    log = (mel(filtered) + 1e-6).log().double()
    variance, mean = torch.var_mean(log, dim=2, correction=0, keepdim=True)
    expected = ((log - mean) / (variance + 1e-5).sqrt()).transpose(1, 2).float()

    frontend = StandardizedLogMel(40, preemphasis)
    magnitude = frontend.magnitude(waveform)
    assert magnitude.shape == (3, 101, frontend.num_bins)
    torch.testing.assert_close(frontend.features(magnitude), expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(frontend(waveform), expected, atol=1e-5, rtol=0)


@variants
def test_gradient_is_the_slope(variant, tiny, waveform):
    """The published front-end detaches; here the length of the gradient is the slope along it."""
    target = torch.randn(12, generator=torch.Generator().manual_seed(1))
    waveform.requires_grad_()
    (gradient,) = torch.autograd.grad((tiny(waveform) @ target).sum(), waveform)
    steepest, step = F.normalize(gradient, dim=1), 1e-4
    with torch.no_grad():
        slope = (tiny(waveform + step * steepest) - tiny(waveform - step * steepest)) @ target / (2 * step)
    torch.testing.assert_close(gradient.norm(dim=1), slope, rtol=0.01, atol=0)


@variants
def test_silence_has_an_embedding_and_a_finite_gradient(variant, tiny):
    waveform = torch.zeros(1, 4_000, requires_grad=True)
    embedding = tiny(waveform)
    torch.testing.assert_close(embedding.norm(), torch.tensor(1.0))
    embedding.sum().backward()
    assert torch.isfinite(waveform.grad).all()


LAYOUTS = {
    "bare": lambda state: state,
    "wrapped": lambda state: {"model": state},
    "trainer": lambda state: {f"__S__.{name}": value for name, value in state.items()} | {"__L__.w": torch.ones(1)},
    "parallel": lambda state: {f"module.__S__.{name}": value for name, value in state.items()},
    "resumable": lambda state: {
        "model_state_dict": {f"__S__.{name}": value for name, value in state.items()} | {"__L__.b": torch.ones(1)},
        "optimizer_state_dict": {"state": {}, "param_groups": [{"lr": 0.001}]},
        "epoch": 3,
    },
}


@variants
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_of_the_trainer_loads(variant, layout, tiny, tmp_path, waveform):
    torch.save(LAYOUTS[layout](published_state(tiny)), tmp_path / "baseline.model")
    loaded = voxcert.load_encoder(tmp_path)
    assert not loaded.training
    assert loaded.config == tiny.config
    assert torch.equal(loaded(waveform), tiny(waveform))


@variants
def test_checkpoint_folder_round_trip(variant, tiny, tmp_path, waveform):
    save_checkpoint(tiny, tmp_path / "folder", {})
    assert torch.equal(voxcert.load_encoder(tmp_path / "folder")(waveform), tiny(waveform))


@variants
def test_weights_that_do_not_fit_are_refused(variant, tiny, tmp_path):
    path, state = tmp_path / "x.model", published_state(tiny)
    for broken, reason in [
        ({name: value for name, value in state.items() if name != "fc.bias"}, r"Missing key.*network\.fc\.bias"),
        (state | {"head.weight": torch.ones(1)}, r"Unexpected key.*network\.head\.weight"),
        (state | {"bn1.weight": torch.ones(3)}, r"size mismatch for network\.bn1\.weight"),
        ({"weight": torch.ones(1)}, r"conv1\.weight"),
        ([torch.ones(1)], "list"),
    ]:
        torch.save(broken, path)
        with pytest.raises(CheckpointError, match=rf"(?s)x\.model does not hold.*Fast ResNet-34.*{reason}"):
            load_voxceleb_trainer(path)


class Bomb:
    def __reduce__(self):
        return exec, ("raise AssertionError('a pickle was read')",)


def test_a_program_posing_as_weights_is_never_run(tmp_path):
    (tmp_path / "x.model").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(CheckpointError, match=r"x\.model"):
        load_voxceleb_trainer(tmp_path / "x.model")
    with pytest.raises(CheckpointError, match=r"y\.model is missing"):
        load_voxceleb_trainer(tmp_path / "y.model")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"variant": "tap"}, "variant must be 'sap' or 'asp', got 'tap'"),
        ({"channels": 12}, "channels must be a positive multiple of 8, got 12"),
        ({"variant": "asp", "num_mels": 20}, "num_mels must be a positive multiple of 8 for variant 'asp', got 20"),
    ],
)
def test_impossible_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        FastResNet34(**arguments)


def test_a_waveform_too_short_to_be_mirrored_is_named():
    encoder = FastResNet34(**TINY["sap"]).eval()
    with pytest.raises(ValueError, match="more than 256 samples, got 256"):
        encoder(torch.zeros(1, 256))
    assert torch.isfinite(encoder(torch.zeros(1, 257))).all()
