"""Files and folders as 3D-Speaker releases them: small networks of random weights, and the real CAM++ if it is here."""

import json
import pickle

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import save_file
from wespeaker_golden import assert_hears

from golden import FOLDER
from voxcert import load_encoder
from voxcert.encoders.campplus import CAMPPlus
from voxcert.encoders.checkpoint import CheckpointError
from voxcert.encoders.eres2net import ERes2Net
from voxcert.encoders.loading import encoder_hash, is_checkpoint, source_hash

SIZES = {"growth_rate": 4, "bn_size": 2, "init_channels": 8, "num_mels": 16}
CONFIGURATION = {
    "framework": "pytorch",
    "task": "speaker-verification",
    "model": {
        "type": "cam++-sv",
        "model_config": {"sample_rate": 16000, "fbank_dim": 16, "emb_size": 12},
        "pretrained_model": "campplus_cn_common.bin",
    },
}


@pytest.fixture
def campplus():
    torch.manual_seed(0)
    return CAMPPlus(dim=12, **SIZES, window="povey", scale=1.0).eval()


@pytest.fixture
def folder(campplus, tmp_path):
    torch.save(campplus.network.state_dict(), tmp_path / "campplus_cn_common.bin")
    (tmp_path / "configuration.json").write_text(json.dumps(CONFIGURATION))
    return tmp_path


def configure(folder, **model):
    (folder / "configuration.json").write_text(json.dumps({"model": CONFIGURATION["model"] | model}))


def assert_loads(source, encoder, waveform):
    loaded = load_encoder(source)
    assert not loaded.training
    assert encoder_hash(loaded) == encoder_hash(encoder)  # its config too: povey windows, waveforms below one
    torch.testing.assert_close(loaded(waveform), encoder(waveform), atol=1e-6, rtol=0)
    assert not is_checkpoint(source)
    assert source_hash(source, loaded) == encoder_hash(loaded)


@pytest.mark.parametrize("named", ["", "configuration.json", "campplus_cn_common.bin"])
def test_a_folder_of_modelscope_and_its_files_are_the_encoder(named, folder, campplus, waveform):
    assert_loads(folder / named if named else folder, campplus, waveform)


@pytest.mark.parametrize("name", ["campplus_cn_en_common.pt", "campplus_voxceleb.bin"])
def test_a_released_file_needs_nothing_beside_it(name, campplus, tmp_path, waveform):
    torch.save(campplus.network.state_dict(), tmp_path / name)
    assert_loads(tmp_path / name, campplus, waveform)
    assert_loads(tmp_path, campplus, waveform)


def test_it_hears_povey_windows_and_waveforms_below_one(tmp_path, waveform):
    torch.manual_seed(0)
    state = CAMPPlus(dim=12, **SIZES | {"num_mels": 80}).network.state_dict()
    torch.save(state, tmp_path / "campplus_cn_common.bin")
    assert_hears(load_encoder(tmp_path), waveform, "povey", 1.0)


@pytest.mark.parametrize("beside", [True, False])
def test_safetensors_of_the_same(beside, folder, campplus, waveform):
    """Converted weights keep the stem of the name, whether or not the configuration lies beside them."""
    save_file(campplus.network.state_dict(), folder / "campplus_cn_common.safetensors")
    (folder / "campplus_cn_common.bin").unlink()
    if not beside:
        (folder / "configuration.json").unlink()
    assert_loads(folder, campplus, waveform)
    assert_loads(folder / "campplus_cn_common.safetensors", campplus, waveform)


def test_weights_under_another_name_are_asked_about(folder, campplus, waveform):
    """A CAM++ of wespeaker has the same entries, and hears hamming windows and int16 amplitudes."""
    (folder / "campplus_cn_common.bin").rename(folder / "speakers.bin")
    with pytest.raises(CheckpointError, match="nothing says whether it hears as 3D-Speaker's or as wespeaker's.*keep"):
        load_encoder(folder / "speakers.bin")
    configure(folder, pretrained_model="speakers.bin")
    assert_loads(folder / "speakers.bin", campplus, waveform)
    assert_loads(folder, campplus, waveform)


def test_a_folder_with_both_namesakes_is_asked_about(folder, campplus, waveform):
    """They are one network trained on other speakers; a configuration says which one the folder is about."""
    state = {name: torch.zeros_like(value) for name, value in campplus.network.state_dict().items()}
    torch.save(state, folder / "campplus_cn_en_common.pt")
    assert_loads(folder, campplus, waveform)
    (folder / "configuration.json").unlink()
    with pytest.raises(CheckpointError, match=r"holds campplus_cn_common.bin, campplus_cn_en_common.pt: name the file"):
        load_encoder(folder)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"pretrained_model": None}, r"configuration\.json must hold model\.pretrained_model and model\.model_config"),
        ({"model_config": {"sample_rate": 8000}}, r"model_config\.sample_rate must be 16000, got 8000"),
        ({"model_config": {"fbank_dim": 80}}, r"model_config\.fbank_dim must be 16, got 80"),
        ({"model_config": {"emb_size": 512}}, r"model_config\.emb_size must be 12, got 512"),
        ({"pretrained_model": "elsewhere/nothing.bin"}, r"nothing\.bin is missing"),
    ],
)
def test_a_configuration_of_something_else_is_named(model, message, folder):
    configure(folder, **model)
    with pytest.raises(CheckpointError, match=message):
        load_encoder(folder)


@pytest.mark.parametrize("content", ["{", "[]", '{"model": "damo/any"}'])
def test_a_configuration_that_says_nothing_is_named(content, folder):
    (folder / "configuration.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"configuration\.json (is not JSON|must hold)"):
        load_encoder(folder)


@pytest.mark.parametrize(
    "change",
    [
        lambda state: state.pop("xvector.dense.linear.weight"),
        lambda state: state.update({"xvector.tdnn.linear.weight": torch.zeros(3)}),
        lambda state: state.update({"head.extra": torch.zeros(3)}),
    ],
)
def test_weights_that_do_not_fit_are_named(change, folder, campplus):
    state = dict(campplus.network.state_dict())
    change(state)
    torch.save(state, folder / "campplus_cn_common.bin")
    with pytest.raises(CheckpointError, match=r"campplus_cn_common\.bin does not hold the weights of a CAM\+\+"):
        load_encoder(folder)


class Bomb:
    def __reduce__(self):
        return exec, ("raise AssertionError('a pickle was run')",)


@pytest.mark.parametrize("name", ["campplus_cn_common.bin", "campplus_cn_common.safetensors"])
def test_a_pickle_is_never_run(name, tmp_path):
    (tmp_path / name).write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(CheckpointError, match=name):
        load_encoder(tmp_path / name)
    torch.save({"xvector.tdnn.linear.weight": Bomb()}, tmp_path / name)
    with pytest.raises(CheckpointError, match="never run|never read"):
        load_encoder(tmp_path / name)


def three_d_speakers_name(name):
    """The first convolution of a fused block counts among the others."""
    block, _, rest = name.rpartition(".conv2_1.") if ".conv2_1." in name else name.rpartition(".bn2_1.")
    if block:
        return f"{block}.{'conv' if '.conv2_1.' in name else 'bn'}s.0.{rest}"
    parts = name.split(".")
    if parts[0] in ("layer3", "layer4") and parts[2] in ("convs", "bns"):
        parts[3] = str(int(parts[3]) + 1)
    return ".".join(parts)


@pytest.mark.parametrize(
    "sizes",
    [
        {"channels": 8},
        {"channels": 8, "expansion": 4, "base_width": 24, "res2net_scale": 3, "num_mels": 16},
    ],
)
@pytest.mark.parametrize("name", ["pretrained_eres2net.ckpt", "eres2net_base_model.ckpt", "any.pt", "any.safetensors"])
def test_eres2net_is_known_by_its_entries(sizes, name, tmp_path, waveform):
    """A network of wespeaker has them under other names, so no name of a file is needed."""
    torch.manual_seed(0)
    encoder = ERes2Net(dim=12, **sizes, window="povey", scale=1.0).eval()
    state = {three_d_speakers_name(key): value for key, value in encoder.network.state_dict().items()}
    (save_file if name.endswith("safetensors") else torch.save)(state, tmp_path / name)
    assert_loads(tmp_path / name, encoder, waveform)


@pytest.mark.parametrize("ending", ["pt", "bin", "safetensors"])
def test_eres2net_under_wespeakers_entries_is_asked_about(ending, tmp_path, waveform):
    """Those of wespeaker train this network too, to hear something else."""
    torch.manual_seed(0)
    encoder = ERes2Net(dim=12, channels=8, window="povey", scale=1.0).eval()
    save = save_file if ending == "safetensors" else torch.save
    save(encoder.network.state_dict(), tmp_path / f"speakers.{ending}")
    with pytest.raises(CheckpointError, match="holds an ERes2Net, but nothing says whether it hears as 3D-Speaker's"):
        load_encoder(tmp_path / f"speakers.{ending}")
    configuration = {"model": {"pretrained_model": f"speakers.{ending}"}}
    (tmp_path / "configuration.json").write_text(json.dumps(configuration))
    assert_loads(tmp_path / f"speakers.{ending}", encoder, waveform)


@pytest.mark.parametrize("name", ["pretrained_eres2net_aug.ckpt", "eres2net_base_model.ckpt"])
def test_eres2net_under_a_released_name_needs_nothing_beside_it(name, tmp_path, waveform):
    torch.manual_seed(0)
    encoder = ERes2Net(dim=12, channels=8, window="povey", scale=1.0).eval()
    torch.save(encoder.network.state_dict(), tmp_path / name)
    assert_loads(tmp_path / name, encoder, waveform)


def test_eres2netv2_is_refused_by_name(tmp_path):
    torch.save({"fuse34.local_att.0.weight": torch.zeros(1)}, tmp_path / "pretrained_eres2netv2.ckpt")
    with pytest.raises(CheckpointError, match="holds an ERes2NetV2, which is not among the encoders here"):
        load_encoder(tmp_path)


def test_campplus_as_published_says_what_another_implementation_says(published_file, librispeech):
    path = published_file("campplus_cn_en_common.pt")
    with np.load(FOLDER / "campplus-published.npz") as arrays:
        files, length = arrays["files"], int(arrays["num_samples"])
        expected = torch.from_numpy(arrays["embeddings"])
    audio = [soundfile.read(f"{librispeech}/{file}", dtype="float32")[0][:length] for file in files]
    encoder = load_encoder(path)
    assert encoder.config["init_args"] == CAMPPlus(dim=192, window="povey", scale=1.0).config["init_args"]
    with torch.inference_mode():
        torch.testing.assert_close(encoder(torch.from_numpy(np.stack(audio))), expected, atol=1e-4, rtol=0)
