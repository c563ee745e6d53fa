"""Folders as wespeaker publishes them, with small networks of random weights in them."""

import pickle
from pathlib import Path

import pytest
import torch
import yaml
from wespeaker_golden import assert_hears

from voxcert import load_encoder
from voxcert.encoders.campplus import CAMPPlus
from voxcert.encoders.checkpoint import CheckpointError, build_encoder, load_checkpoint, save_checkpoint
from voxcert.encoders.published.wespeaker import load_wespeaker, read_model

SIZE = {"growth_rate": 4, "bn_size": 2, "init_channels": 8}


def recipe(model="CAMPPlus", model_args=None, **dataset_args):
    """The parts of a published config.yaml that say something about the network."""
    fbank = {"num_mel_bins": 80, "frame_shift": 10, "frame_length": 25, "dither": 1.0}
    return {
        "model": model,
        "model_init": None,
        "model_args": {"feat_dim": 80, "embed_dim": 16, "pooling_func": "TSTP"} | (model_args or {}),
        "dataset_args": {"resample_rate": 16000, "speed_perturb": True, "fbank_args": fbank} | dataset_args,
        "projection_args": {"project_type": "arc_margin", "scale": 32.0},
    }


def write_config(folder, config):
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return folder / "config.yaml"


@pytest.fixture
def published():
    torch.manual_seed(0)
    return CAMPPlus(dim=16, **SIZE).eval()


@pytest.fixture
def folder(published, tmp_path):
    state = published.network.state_dict() | {"projection.weight": torch.zeros(30, 16)}
    torch.save(state, tmp_path / "avg_model.pt")
    write_config(tmp_path, recipe(model_args=SIZE))
    return tmp_path


def test_a_published_folder_is_read_back(folder, published, waveform):
    encoder = load_wespeaker(folder)
    assert not encoder.training
    assert encoder.config == published.config
    torch.testing.assert_close(encoder(waveform), published(waveform), atol=1e-6, rtol=0)


def test_anyones_loader_finds_it(folder, published, waveform):
    torch.testing.assert_close(load_encoder(folder)(waveform), published(waveform), atol=1e-6, rtol=0)


def test_the_prefix_of_parallel_training_is_dropped(folder, published, waveform):
    state = torch.load(folder / "avg_model.pt", weights_only=True)
    torch.save({f"module.{name}": value for name, value in state.items()}, folder / "avg_model.pt")
    torch.testing.assert_close(load_wespeaker(folder)(waveform), published(waveform), atol=1e-6, rtol=0)


def test_an_average_of_counters_is_no_obstacle(folder, published, waveform):
    """Averaging is done entry by entry, which turns batch norm's counters into floats."""
    state = torch.load(folder / "avg_model.pt", weights_only=True)
    state = {name: value.float() for name, value in state.items()}
    torch.save(state, folder / "avg_model.pt")
    torch.testing.assert_close(load_wespeaker(folder)(waveform), published(waveform), atol=1e-6, rtol=0)


def test_the_mandarin_model_hears_povey_windows_and_waveforms_below_one(tmp_path, waveform):
    torch.manual_seed(0)
    torch.save(CAMPPlus(dim=192, **SIZE).network.state_dict(), tmp_path / "avg_model.pt")
    write_config(tmp_path, recipe(model_args=SIZE | {"embed_dim": 192}))
    encoder = load_wespeaker(tmp_path)
    assert_hears(encoder, waveform, "povey", 1.0)
    save_checkpoint(encoder, tmp_path / "exported", {})
    assert_hears(load_checkpoint(tmp_path / "exported"), waveform, "povey", 1.0)


OF_WESPEAKER, OF_3D_SPEAKER = {"window": "hamming", "scale": 32768.0}, {"window": "povey", "scale": 1.0}


@pytest.mark.parametrize("model", ["CAMPPlus", "ERes2Net34_aug"])
def test_whether_ones_own_training_hears_as_3d_speakers_is_asked(model, tmp_path):
    """Such a network may be 3D-Speaker's, or trained with wespeaker, which writes down its data."""
    config = recipe(model, {"embed_dim": 192}) | {"train_data": "data/train/shard.list"}
    with pytest.raises(CheckpointError, match="nothing says which of the two it hears as; write into it window_type"):
        read_model(write_config(tmp_path, config))
    with pytest.raises(CheckpointError, match="nothing says which of the two it hears as"):
        read_model(write_config(tmp_path, config | {"window_type": "povey"}))
    for said, hears in (
        ({"window_type": "hamming", "wavform_norm": False}, OF_WESPEAKER),
        ({"window_type": "povey", "wavform_norm": True}, OF_3D_SPEAKER),
    ):
        assert read_model(write_config(tmp_path, config | said))[1].items() >= hears.items()


@pytest.mark.parametrize("name", ["campplus_cn_common_200k", "eres2net_cn_common_200k", "eres2net_cn_commom_200k"])
def test_folders_of_what_was_taken_over_are_known_by_their_names(name, tmp_path, monkeypatch):
    (tmp_path / name).mkdir()
    config = recipe("CAMPPlus", {"embed_dim": 192}) | {"train_data": "data/train/shard.list"}
    path = write_config(tmp_path / name, config)
    assert read_model(path)[1].items() >= OF_3D_SPEAKER.items()
    monkeypatch.chdir(tmp_path / name)
    assert read_model(Path(path.name))[1].items() >= OF_3D_SPEAKER.items()


def test_what_a_config_says_is_read_of_any_network(tmp_path):
    config = recipe("ResNet34") | {"train_data": "data/train/shard.list"}
    assert not read_model(write_config(tmp_path, config))[1].keys() & OF_WESPEAKER.keys()
    found = read_model(write_config(tmp_path, config | {"window_type": "povey", "wavform_norm": True}))[1]
    assert found.items() >= OF_3D_SPEAKER.items()


@pytest.mark.parametrize(
    ("model", "dim", "arguments", "window"),
    [
        ("CAMPPlus", 512, {}, "hamming"),
        ("CAMPPlus", 192, {}, "povey"),
        ("ERes2Net34_Base", 512, {"channels": 32}, "hamming"),
        ("ERes2Net34_Large", 512, {"channels": 64}, "hamming"),
        ("ERes2Net34_aug", 192, {"channels": 64, "expansion": 4, "base_width": 24, "res2net_scale": 3}, "povey"),
        ("ResNet34", 256, {"depth": 34}, "hamming"),
        ("ResNet152", 256, {"depth": 152}, "hamming"),
        ("ResNet221", 256, {"depth": 221}, "hamming"),
        ("ResNet293", 256, {"depth": 293}, "hamming"),
        ("ECAPA_TDNN_GLOB_c512", 192, {"channels": 512}, "hamming"),
        ("ECAPA_TDNN_GLOB_c1024", 192, {"channels": 1024}, "hamming"),
    ],
)
def test_every_published_name_is_known(model, dim, arguments, window, tmp_path):
    pooling = "ASTP" if model.startswith("ECAPA") else "TSTP"
    config = recipe(model, {"embed_dim": dim, "pooling_func": pooling})
    encoder_class, found = read_model(write_config(tmp_path, config))
    hears = {"window": "povey", "scale": 1.0} if window == "povey" else {}
    assert found == arguments | {"num_mels": 80, "dim": dim} | hears
    assert encoder_class.__name__.lower()[:5] == model.replace("_", "").lower()[:5]


def test_weights_of_one_recipe_load_by_name(tmp_path, waveform):
    """A name stands for fixed widths: the smallest ones that wespeaker has."""
    torch.manual_seed(0)
    config = {"class_path": "voxcert.encoders.ecapa_glob.ECAPAGlob", "init_args": {"channels": 512, "dim": 4}}
    published = build_encoder(config).eval()
    torch.save(published.network.state_dict(), tmp_path / "avg_model.pt")
    write_config(tmp_path, recipe("ECAPA_TDNN_GLOB_c512", {"embed_dim": 4, "pooling_func": "ASTP", "emb_bn": False}))
    encoder = load_wespeaker(tmp_path)
    assert encoder.config["init_args"] == published.config["init_args"]
    torch.testing.assert_close(encoder(waveform), published(waveform), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (recipe("REPVGG_TINY_A0"), "model must be one of CAMPPlus, .*, got 'REPVGG_TINY_A0'"),
        (recipe(["CAMPPlus"]), r"model must be one of .*, got \['CAMPPlus'\]"),
        (recipe(model_args={"pooling_func": "MQMHASTP"}), "model_args.pooling_func must be 'TSTP', got 'MQMHASTP'"),
        (recipe("ECAPA_TDNN_GLOB_c512"), "model_args.pooling_func must be 'ASTP', got 'TSTP'"),
        (recipe("ResNet34", {"two_emb_layer": True}), "model_args.two_emb_layer must be False, got True"),
        (recipe(model_args={"window": "hamming"}), "model_args must be some of feat_dim, .*, got window"),
        (recipe(model_args={"feat_dim": -1}, frontend="s3prl"), "dataset_args.frontend must be 'fbank', got 's3prl'"),
        (recipe(resample_rate=8000), "dataset_args.resample_rate must be 16000, got 8000"),
        (recipe(fbank_args={"num_mel_bins": 40}), "fbank_args.num_mel_bins must be 80, got 40"),
        (recipe(fbank_args={"frame_shift": 20}), "fbank_args.frame_shift must be 10, got 20"),
        (recipe(cmvn=False), "dataset_args.cmvn must be True, got False"),
        (recipe(cmvn_args={"norm_mean": True, "norm_var": True}), "cmvn_args.norm_var must be False, got True"),
        (recipe() | {"model_args": "small"}, "model_args must be a mapping, got 'small'"),
        (recipe(model_args={"feat_dim": 84}, fbank_args=None), "model_args do not fit: num_mels must be a positive"),
        (recipe() | {"window_type": "hann"}, "window_type must be hamming or povey, got 'hann'"),
        (recipe() | {"wavform_norm": [1]}, r"wavform_norm must be false or true, got \[1\]"),
        (["CAMPPlus"], "must hold a mapping with model and model_args"),
    ],
)
def test_what_is_not_here_is_named(folder, config, message):
    write_config(folder, config)
    with pytest.raises(CheckpointError, match=rf"config\.yaml.* {message}"):
        load_wespeaker(folder)


def test_a_config_that_is_not_yaml_is_named(folder):
    (folder / "config.yaml").write_text("model: [")
    with pytest.raises(CheckpointError, match=r"config\.yaml is not YAML"):
        load_wespeaker(folder)


@pytest.mark.parametrize("name", ["avg_model.pt", "config.yaml"])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(CheckpointError, match=f"{name} is missing"):
        load_wespeaker(folder)


def test_weights_of_another_network_are_named(folder):
    write_config(folder, recipe(model_args=SIZE | {"embed_dim": 24}))
    with pytest.raises(CheckpointError, match=r"avg_model\.pt do not fit .*config\.yaml"):
        load_wespeaker(folder)


def test_entries_that_nobody_asked_for_are_named(folder):
    state = torch.load(folder / "avg_model.pt", weights_only=True) | {"frontend.weight": torch.zeros(1)}
    torch.save(state, folder / "avg_model.pt")
    with pytest.raises(CheckpointError, match=r"frontend\.weight"):
        load_wespeaker(folder)


def test_a_file_that_is_no_state_dict_is_named(folder):
    torch.save([torch.zeros(1)], folder / "avg_model.pt")
    with pytest.raises(CheckpointError, match=r"avg_model\.pt is not a state dict"):
        load_wespeaker(folder)


class Bomb:
    def __reduce__(self):
        return exec, ("raise AssertionError('a pickle was run')",)


def test_a_pickle_is_never_run(folder):
    (folder / "avg_model.pt").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(CheckpointError, match=r"avg_model\.pt"):
        load_wespeaker(folder)
    torch.save({"projection.weight": Bomb()}, folder / "avg_model.pt")
    with pytest.raises(CheckpointError, match="never run"):
        load_wespeaker(folder)
