import sys

import pytest
import torch
import yaml

from voxcert.encoders.checkpoint import CheckpointError, save_checkpoint
from voxcert.purifiers.checkpoint import build_purifier, load_matching, load_purifier
from voxcert.purifiers.diffusion import DiffusionPurifier, OneShotDenoiser
from voxcert.purifiers.filters import MeanFilter
from voxcert.purifiers.networks import SpectralDiffWave
from voxcert.purifiers.schedule import PurificationScheduler


@pytest.mark.parametrize("conditional", [True, False])
def test_round_trip(make, spectral, waveform, tmp_path, conditional):
    purifier = make(spectral, conditional, steps="fast", start=3, data_std=0.06, seed=4)
    save_checkpoint(purifier, tmp_path, {"license": "apache-2.0"})
    assert sorted(file.name for file in tmp_path.iterdir()) == ["card.json", "config.yaml", "model.safetensors"]
    loaded, text = load_purifier(tmp_path), torch.randn(3, 768)
    assert loaded.config == purifier.config
    assert (loaded.seed, loaded.start, loaded.training) == (4, 3, False)
    assert torch.equal(loaded(waveform, text), purifier(waveform, text))


def test_a_denoiser_is_a_purifier_too(make, spectral, waveform, tmp_path):
    denoiser = OneShotDenoiser(make(spectral, False, data_std=0.1), 0.05)
    save_checkpoint(denoiser, tmp_path, {})
    assert torch.equal(load_purifier(tmp_path)(waveform), denoiser(waveform))


def test_other_folders_are_refused(make, tmp_path, encoder):
    with pytest.raises(CheckpointError, match="is not the checkpoint folder of a purifier: .*No such file"):
        load_purifier(tmp_path)
    save_checkpoint(encoder, tmp_path, {})
    with pytest.raises(CheckpointError, match="must be in voxcert.purifiers, got 'voxcert.encoders.*by --checkpoint"):
        load_purifier(tmp_path)
    save_checkpoint(make(), tmp_path, {})
    config = yaml.safe_load((tmp_path / "config.yaml").read_text())
    config["init_args"]["network"]["init_args"]["channels"] = 9
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(CheckpointError, match="size mismatch"):
        load_purifier(tmp_path)


@pytest.mark.parametrize(
    ("class_path", "message"),
    [
        ("os.system", "class_path must be in voxcert.purifiers, .*VOXCERT_TRUSTED_MODULES .*, got 'os.system'"),
        ("voxcert.purifiers.checkpoint.Path", "class_path must be of the kind Purifier or NoisePredictor or Cond"),
        ("voxcert.purifiers.nothing.Such", "cannot be imported"),
        ("voxcert.purifiers.AudioLanguageModel", "class_path must be of the kind Purifier or .*, not abstract"),
        ("voxcert.purifiers.PurificationScheduler", "class_path must be a Purifier, got"),
    ],
)
def test_configs_name_purifiers_alone(class_path, message):
    with pytest.raises(CheckpointError, match=message):
        build_purifier({"class_path": class_path, "init_args": {}})


def test_arguments_that_do_not_fit(make):
    config = make().config | {"init_args": {"steps": "fast"}}
    with pytest.raises(CheckpointError, match="init_args of voxcert.purifiers.DiffusionPurifier do not fit"):
        build_purifier(config)


def test_weights_go_over_to_a_purifier_with_more(make, spectral, waveform, tmp_path):
    small, large = make(spectral, False), make(spectral, True)
    with torch.no_grad():
        small.network.mix.weight.fill_(0.5)
    save_checkpoint(small, tmp_path, {})
    before = large.network.conditioner.head.weight.clone()
    load_matching(large, tmp_path)
    assert (large.network.mix.weight == 0.5).all()
    assert torch.equal(large.network.conditioner.head.weight, before)
    save_checkpoint(large, tmp_path, {})
    with pytest.raises(CheckpointError, match="has weights that do not fit the purifier to train: network.conditioner"):
        load_matching(small, tmp_path)


@pytest.mark.parametrize(
    ("network", "process", "settings", "message"),
    [
        ({}, {}, {"data_std": 0.06}, "its data_std is None, got 0.06"),
        ({"dilation_cycle": 1}, {}, {}, "its network.dilation_cycle is 2, got 1"),
        ({"hop": 128}, {}, {}, "its network.hop is 256, got 128"),
        ({}, {"beta_end": 0.06}, {}, "its scheduler.beta_end is 0.05, got 0.06"),
        ({}, {"conditional": True}, {"start": 2, "seed": None, "checkpointing": True}, None),
    ],
)
def test_weights_do_not_go_over_to_another_network_or_process(tmp_path, network, process, settings, message):
    def built(network, process, **settings):
        small = {"channels": 8, "num_layers": 2, "dilation_cycle": 2, "step_dim": 16} | network
        scheduler = PurificationScheduler(**{"conditional": False} | process)
        return DiffusionPurifier(SpectralDiffWave(**small), scheduler, **settings)

    save_checkpoint(built({}, {}), tmp_path, {})
    if message is None:
        load_matching(built(network, process, **settings), tmp_path)
        return
    with pytest.raises(CheckpointError, match=f"has another network or process than the purifier to train: {message}"):
        load_matching(built(network, process, **settings), tmp_path)


@pytest.mark.parametrize("config", [None, [], {}, {"init_args": {}}])
def test_configs_that_name_nothing(config):
    with pytest.raises(CheckpointError, match="config needs class_path and init_args"):
        build_purifier(config)


def test_arguments_need_names():
    with pytest.raises(CheckpointError, match=r"init_args of .*MeanFilter must be names with values, got \[3\]"):
        build_purifier({"class_path": "voxcert.purifiers.MeanFilter", "init_args": [3]})


def test_a_user_may_trust_a_module_with_a_purifier(tmp_path, waveform, monkeypatch):
    (tmp_path / "own_gate.py").write_text(
        "from voxcert.purifiers import MeanFilter\n\n\nclass Gate(MeanFilter):\n    ...\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    save_checkpoint(MeanFilter(5), tmp_path / "gate", {})
    config = tmp_path / "gate" / "config.yaml"
    config.write_text(config.read_text().replace("voxcert.purifiers.MeanFilter", "own_gate.Gate"))
    with pytest.raises(CheckpointError, match="VOXCERT_TRUSTED_MODULES names .*, got 'own_gate.Gate'"):
        load_purifier(tmp_path / "gate")
    assert "own_gate" not in sys.modules
    monkeypatch.setenv("VOXCERT_TRUSTED_MODULES", "own_gate")
    assert torch.equal(load_purifier(tmp_path / "gate")(waveform), MeanFilter(5)(waveform))
    del sys.modules["own_gate"]
