import pickle

import pytest
import torch
import torch.nn.functional as F

import voxcert
from golden import golden_names, golden_state, golden_tensors
from voxcert.encoders.checkpoint import CheckpointError, save_checkpoint
from voxcert.encoders.networks.sincnet import SincConvolution
from voxcert.encoders.sincnet import SincNet, load_sincnet

SMALL = {"num_classes": 5, "chunk_samples": 800, "num_filters": 6, "channels": 4, "dim": 16}
BLOCKS = {"CNN_model_par": "cnn", "DNN1_model_par": "dnn1", "DNN2_model_par": "dnn2"}


@pytest.fixture
def tiny():
    torch.manual_seed(0)
    encoder = SincNet(**SMALL)
    with torch.no_grad():
        encoder.log_posteriors(0.1 * torch.randn(8, 800))  # running statistics that are not those of a fresh layer
    return encoder.eval()


def published(encoder):
    """What the published program saves: also the normalisations that it does not use."""
    content = {name: dict(getattr(encoder, block).state_dict()) for name, block in BLOCKS.items()}
    for block, widths in (("CNN_model_par", (6, 4, 4)), ("DNN2_model_par", (5,))):
        for index, width in enumerate(widths):
            norm = torch.nn.BatchNorm1d(width).state_dict()
            content[block] |= {f"bn.{index}.{name}": value for name, value in norm.items()}
    for block, widths in (("DNN1_model_par", (16, 16, 16)), ("DNN2_model_par", (5,))):
        for index, width in enumerate(widths):
            content[block] |= {f"ln.{index}.gamma": torch.ones(width), f"ln.{index}.beta": torch.zeros(width)}
    return content


def test_published_names_load_and_give_the_published_output(tmp_path):
    edges = SincConvolution(80).state_dict()
    content = {block: golden_state(golden_names("sincnet-timit")[block]) for block in BLOCKS}
    content["CNN_model_par"] |= {f"conv.0.{name}": value for name, value in edges.items()}
    torch.save(content, tmp_path / "model_raw.pkl")

    encoder, arrays = load_sincnet(tmp_path / "model_raw.pkl"), golden_tensors("sincnet-timit")
    assert encoder.config == SincNet().config
    with torch.no_grad():
        outputs = {"cnn": encoder.cnn(arrays["input"]), "dvector": encoder.d_vectors(arrays["input"])}
        outputs["log_posterior"] = encoder.log_posteriors(arrays["input"])
    for name, output in outputs.items():
        scale = arrays[name].abs().max()
        torch.testing.assert_close(output / scale, arrays[name] / scale, atol=1e-5, rtol=0)


def test_embedding_is_the_mean_of_unit_d_vectors_of_loud_chunks(tiny, waveform):
    waveform = waveform[:2].clone()
    waveform[1, 8_000:] *= 0.1  # a tenth of the amplitude is a hundredth of the energy: left out
    expected = torch.zeros(2, 16)
    energies = torch.stack([waveform[:, start : start + 800].square().sum(dim=1) for start in range(0, 15_201, 160)])
    loud = energies >= 0.1 * energies.mean(dim=0)
    assert loud[:, 0].all()
    assert 0.4 < loud[:, 1].float().mean() < 0.6
    for index, start in enumerate(range(0, 15_201, 160)):
        d_vector = tiny.d_vectors(waveform[:, start : start + 800])
        expected += loud[index, :, None] * d_vector / d_vector.norm(dim=1, keepdim=True)
    expected /= loud.sum(dim=0)[:, None]
    torch.testing.assert_close(tiny.embed(waveform), expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(tiny(waveform), F.normalize(expected, dim=1), atol=1e-5, rtol=0)


def test_all_chunks_count_when_asked(tiny, waveform):
    every = SincNet(**SMALL, least_energy=0.0).eval()
    every.load_state_dict(tiny.state_dict())
    waveform[:, 8_000:] *= 0.01
    unit = F.normalize(tiny.d_vectors(waveform.unfold(1, 800, 160).flatten(0, 1)), dim=1)
    torch.testing.assert_close(every.embed(waveform), unit.unflatten(0, (3, -1)).mean(dim=1), atol=1e-5, rtol=0)


def test_loudness_does_not_matter(tiny, waveform):
    torch.testing.assert_close(tiny(0.1 * waveform), tiny(waveform), atol=1e-3, rtol=0)


def test_posteriors_follow_from_d_vectors(tiny, waveform):
    chunks = tiny.chunks(waveform)[:, 0]
    assert chunks.shape == (3, 800)
    log_posteriors = tiny.log_posteriors(chunks)
    torch.testing.assert_close(log_posteriors.exp().sum(dim=1), torch.ones(3))
    assert torch.equal(log_posteriors, tiny.classify(tiny.d_vectors(chunks)))


def test_posteriors_have_gradients_for_chunks_and_for_d_vectors(tiny):
    """What model inversion descends."""
    chunk = (0.1 * torch.randn(2, 800, generator=torch.Generator().manual_seed(0))).requires_grad_()
    d_vector = tiny.d_vectors(chunk).detach().requires_grad_()
    for inputs, log_posteriors in ((chunk, tiny.log_posteriors(chunk)), (d_vector, tiny.classify(d_vector))):
        (gradient,) = torch.autograd.grad(log_posteriors[:, 1].sum(), inputs)
        assert torch.isfinite(gradient).all()
        assert (gradient != 0).float().mean() > 0.9


def test_silence_has_a_finite_gradient(tiny):
    waveform = torch.zeros(1, 1_200, requires_grad=True)
    tiny(waveform).sum().backward()
    assert torch.isfinite(waveform.grad).all()


def test_a_published_folder_loads(tiny, tmp_path, waveform):
    torch.save(published(tiny), tmp_path / "model_raw.pkl")
    loaded = voxcert.load_encoder(tmp_path)
    assert not loaded.training
    assert loaded.config == tiny.config
    assert torch.equal(loaded(waveform), tiny(waveform))
    assert torch.equal(loaded.log_posteriors(waveform[:, :800]), tiny.log_posteriors(waveform[:, :800]))


def first_release_filters(filt_b1, filt_band):
    """The filters of the first release, by the formula of the paper, in float64."""
    low = filt_b1.abs() + 50 / 16_000  # edges as fractions of the sampling rate
    high = low + filt_band.abs() + 50 / 16_000
    n = torch.arange(-125, 126, dtype=torch.float64)
    bands = 2 * high[:, None] * torch.sinc(2 * high[:, None] * n) - 2 * low[:, None] * torch.sinc(2 * low[:, None] * n)
    return bands / bands.amax(dim=1, keepdim=True) * torch.hamming_window(251, periodic=False, dtype=torch.float64)


def test_files_of_the_first_release_load(tiny, tmp_path, waveform):
    """They name and scale the filters' edges differently, and come from a torch that did not count batches."""
    content = published(tiny)
    cnn = content["CNN_model_par"]
    edges = cnn.pop("conv.0.low_hz_")[:, 0].double() / 16_000, cnn.pop("conv.0.band_hz_")[:, 0].double() / 16_000
    cnn["conv.0.filt_b1"], cnn["conv.0.filt_band"] = edges
    for state in content.values():
        for name in [name for name in state if name.endswith("num_batches_tracked")]:
            del state[name]
    torch.save(content, tmp_path / "model_raw.pkl", _use_new_zipfile_serialization=False)

    loaded = load_sincnet(tmp_path / "model_raw.pkl")
    filters = loaded.cnn.conv[0].filters().detach().double()
    torch.testing.assert_close(filters, first_release_filters(*edges), atol=1e-5, rtol=0)
    torch.testing.assert_close(loaded(waveform), tiny(waveform), atol=1e-5, rtol=0)


def test_checkpoint_folder_round_trip(tiny, tmp_path, waveform):
    save_checkpoint(tiny, tmp_path / "folder", {})
    assert torch.equal(voxcert.load_encoder(tmp_path / "folder")(waveform), tiny(waveform))


def without(content, block, name):
    return content | {block: {key: value for key, value in content[block].items() if key != name}}


def test_weights_that_do_not_fit_are_refused(tiny, tmp_path):
    path, content = tmp_path / "x.pkl", published(tiny)
    dnn1 = content["DNN1_model_par"]
    for broken, reason in [
        ({"CNN_model_par": {}}, "DNN1_model_par"),
        (without(content, "CNN_model_par", "ln.0.gamma"), r"Missing key.*ln\.0\.gamma"),
        (without(content, "CNN_model_par", "conv.0.low_hz_"), r"conv\.0\.low_hz_"),
        (content | {"DNN1_model_par": dnn1 | {"wx.3.bias": torch.ones(1)}}, r"Unexpected key.*wx\.3\.bias"),
        (content | {"DNN1_model_par": dnn1 | {"wx.1.bias": torch.ones(3)}}, r"size mismatch for wx\.1\.bias"),
        (content | {"DNN2_model_par": 3}, "int"),
        ([content], "list"),
    ]:
        torch.save(broken, path)
        with pytest.raises(CheckpointError, match=rf"(?s)x\.pkl does not hold.*SincNet.*{reason}"):
            load_sincnet(path)


class Bomb:
    def __reduce__(self):
        return exec, ("raise AssertionError('a pickle was read')",)


def test_a_program_posing_as_weights_is_never_run(tmp_path):
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(CheckpointError, match=r"x\.pkl"):
        load_sincnet(tmp_path / "x.pkl")
    with pytest.raises(CheckpointError, match=r"y\.pkl is missing"):
        load_sincnet(tmp_path / "y.pkl")


def test_wrong_lengths_are_named(tiny):
    with pytest.raises(ValueError, match="waveform must have at least 800 samples, got 799"):
        tiny(torch.zeros(1, 799))
    assert tiny(torch.zeros(1, 800)).shape == (1, 16)
    with pytest.raises(ValueError, match=r"chunks must have shape \(batch, 800\), got \(1, 3200\)"):
        tiny.log_posteriors(torch.zeros(1, 3_200))
