"""A short training run is exported and read back; sources and folders that must not be used are told apart."""

import pickle
import warnings

import lightning as L
import pytest
import torch
import yaml
from lightning.fabric.utilities.warnings import PossibleUserWarning
from lightning.pytorch.callbacks import EMAWeightAveraging, ModelCheckpoint
from torch.utils.data import DataLoader

import voxcert
from tiny import TINY
from voxcert.data.identity import labels_hash
from voxcert.encoders.checkpoint import CheckpointError, read_card, save_checkpoint
from voxcert.encoders.ecapa import ECAPA
from voxcert.encoders.sincnet import SincNet
from voxcert.training.encoder_module import EncoderModule
from voxcert.training.export import export


def train(folder, callbacks=()):
    """Two steps on noise; returns the module and its checkpoint."""
    torch.manual_seed(0)
    module = EncoderModule(ECAPA(**TINY), num_classes=4)
    trainer = L.Trainer(
        max_steps=2,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[*callbacks, ModelCheckpoint(folder, "run", every_n_train_steps=2)],
    )
    batches = [{"waveform": 0.1 * torch.randn(4, 4000), "label": torch.arange(4)} for _ in range(2)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PossibleUserWarning)  # Lightning's hints: no validation, no workers
        trainer.fit(module, DataLoader(batches, batch_size=None))
    return module, folder / "run.ckpt"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return train(tmp_path_factory.mktemp("run"))


def test_round_trip_gives_the_same_embeddings(run, tmp_path):
    module, path = run
    folder = export(path, tmp_path / "mini")
    waveform = 0.1 * torch.randn(2, 16_000)
    with torch.no_grad():
        difference = voxcert.load_encoder(folder)(waveform) - module.encoder.eval()(waveform)
    assert difference.abs().max() <= 1e-6
    assert sorted(file.name for file in folder.iterdir()) == [
        "README.md",
        "card.json",
        "config.yaml",
        "model.safetensors",
    ]


def test_a_file_name_needs_its_format(run, tmp_path):
    with pytest.raises(ValueError, match=r"format must be onnx \(--format onnx\) for a target that ends in .onnx, got"):
        export(run[1], tmp_path / "mini.onnx")
    assert not (tmp_path / "mini.onnx").exists()


def test_half_the_size_is_another_encoder_by_no_more_than_a_rounding(run, tmp_path):
    module, path = run
    whole, half = export(path, tmp_path / "whole"), export(path, tmp_path / "half", half=True)
    saved = (whole / "model.safetensors").stat().st_size - (half / "model.safetensors").stat().st_size
    assert saved >= 2 * sum(parameter.numel() for parameter in module.encoder.parameters())
    loaded, trained = voxcert.load_encoder(half).state_dict(), module.encoder.state_dict()
    learnt = {name for name, _ in module.encoder.named_parameters()}
    for name, value in loaded.items():
        assert value.dtype == trained[name].dtype
        rounded = trained[name].half().float() if name in learnt else trained[name]
        assert torch.equal(value, rounded), name
    assert read_card(half)["training"]["stored"] == "float16"
    assert "stored in float16" in (half / "README.md").read_text()


def test_weights_that_half_cannot_hold_are_told(tmp_path):
    encoder = ECAPA(**TINY)
    next(encoder.parameters()).data[0] = 1e5
    with pytest.raises(ValueError, match="half must be false for weights beyond the 65504 of float16"):
        save_checkpoint(encoder, tmp_path / "mini", {}, half=True)
    assert not (tmp_path / "mini").exists()


def test_card_says_what_the_run_was(run, tmp_path):
    _, path = run
    config = tmp_path / "run.yaml"
    noise = {"class_path": "voxcert.training.noise.Uniform", "init_args": {"low": 0.0, "high": 0.01}}
    corpus = {"class_path": "voxcert.data.LibriSpeech", "init_args": {"root": "here", "parts": None}}
    model = {"class_path": "voxcert.training.EncoderModule", "init_args": {"encoder": {}, "noise": noise, "lr": 0.1}}
    data = {"corpus": corpus, "train_parts": ["train-clean-100"]}
    config.write_text(yaml.safe_dump({"model": model, "data": data}, sort_keys=False))
    folder = export(path, tmp_path / "mini", config=str(config), command="python train.py fit --config mine.yaml")
    card = read_card(folder)
    assert card["parameters"] == sum(parameter.numel() for parameter in ECAPA(**TINY).parameters())
    assert card["training"]["steps"] == 2
    assert card["training"]["noise"] == noise
    assert card["training"]["model"] == {"lr": 0.1}
    readme = (folder / "README.md").read_text()
    front = yaml.safe_load(readme.split("---\n")[1])
    assert front["license"] == "apache-2.0"
    assert front["library_name"] == "voxcert"
    assert front["datasets"] == ["openslr/librispeech_asr"]
    for fact in ("Uniform(low=0.0, high=0.01)", "LibriSpeech(root='here')", "CC BY 4.0", "`python train.py fit"):
        assert fact in readme
    assert "Not measured yet" in readme


@pytest.mark.parametrize(
    ("settings", "saving", "epochs"),
    [
        ({"max_epochs": 2}, {}, 2),  # at the end of an epoch
        ({"max_epochs": 2}, None, 2),  # after the training
        ({"max_steps": 4}, {"every_n_train_steps": 4}, 2),  # with the last batch of the second
        ({"max_steps": 3}, {"every_n_train_steps": 3}, 1),  # in the middle of the second
        ({"max_steps": 1}, None, 0),
    ],
)
def test_epochs_of_a_card_are_those_that_were_trained_whole(tmp_path, settings, saving, epochs):
    path = tmp_path / "run.ckpt"
    saver = [] if saving is None else [ModelCheckpoint(tmp_path, "run", **saving)]
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    trainer = L.Trainer(callbacks=saver, enable_checkpointing=bool(saver), **quiet, **settings)
    batches = [{"waveform": 0.1 * torch.randn(4, 4000), "label": torch.arange(4)} for _ in range(2)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PossibleUserWarning)
        trainer.fit(EncoderModule(ECAPA(**TINY), num_classes=4), DataLoader(batches, batch_size=None))
    if saving is None:
        trainer.save_checkpoint(path)
    export(path, tmp_path / "mini")
    assert read_card(tmp_path / "mini")["training"]["epochs"] == epochs
    assert f"epochs: {epochs}" in (tmp_path / "mini" / "README.md").read_text()


def test_an_export_says_nothing_of_the_machine(run, tmp_path):
    _, path = run
    config = tmp_path / "run.yaml"
    corpus = {"class_path": "voxcert.data.SpeakerFolders", "init_args": {"root": "/home/anna/voices"}}
    model = {"noise": None, "init_from": "/opt/nets/mini"}
    config.write_text(yaml.safe_dump({"model": model, "data": {"corpus": corpus}}))
    command = f"python train.py fit --config {tmp_path}/run.yaml --data.corpus.root=/home/anna/voices"
    folder = export(path, tmp_path / "mini", config=str(config), command=command)
    written = (folder / "README.md").read_text() + (folder / "card.json").read_text()
    assert "SpeakerFolders(root='voices')" in written
    assert "python train.py fit --config run.yaml --data.corpus.root=voices" in written
    for place in ("/home", "anna", "/opt", str(tmp_path)):
        assert place not in written


def test_config_beside_the_checkpoint_is_found(run, tmp_path):
    _, path = run
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "last.ckpt").write_bytes(path.read_bytes())
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"model": {"noise": None}, "data": {"corpus": None}}))
    folder = export(tmp_path / "checkpoints" / "last.ckpt", tmp_path / "mini")
    assert read_card(folder)["training"]["data"] == {"corpus": None}
    assert "waveforms: none" in (folder / "README.md").read_text()


def test_averaged_weights_are_the_ones_exported(tmp_path):
    module, path = train(tmp_path, [EMAWeightAveraging(decay=0.5)])
    stored = torch.load(path, weights_only=True)
    assert "averaging_state" in stored
    folder = export(path, tmp_path / "mini")
    exported = voxcert.load_encoder(folder).state_dict()
    averaged = {name: value for name, value in stored["state_dict"].items() if name.startswith("encoder.")}
    assert all(torch.equal(exported[name.removeprefix("encoder.")], value) for name, value in averaged.items())
    assert any(not torch.equal(stored["current_model_state"][name], value) for name, value in averaged.items())
    assert read_card(folder)["training"]["averaged"] is True


def test_a_checkpoint_is_not_overwritten_unless_asked(run, tmp_path):
    _, path = run
    export(path, tmp_path / "mini")
    with pytest.raises(ValueError, match=r"target must not hold a checkpoint \(or set overwrite\), got .*mini"):
        export(path, tmp_path / "mini")
    export(path, tmp_path / "mini", overwrite=True)


def test_a_published_folder_is_a_source(tmp_path):
    encoder = ECAPA(**TINY).eval()
    source = tmp_path / "spkrec"
    source.mkdir()
    torch.save(encoder.network.state_dict(), source / "embedding_model.ckpt")
    folder = export(source, tmp_path / "mini")
    waveform = 0.1 * torch.randn(1, 8000)
    assert torch.allclose(voxcert.load_encoder(folder)(waveform), encoder(waveform), atol=1e-6)
    assert "published weights (spkrec)" in (folder / "README.md").read_text()


def test_missing_source_is_told(tmp_path):
    with pytest.raises(CheckpointError, match=r"none\.ckpt does not exist"):
        export(tmp_path / "none.ckpt", tmp_path / "mini")


class Foreign:
    """Not a plain value: loading it would run code."""


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"encoder_config": Foreign(), "state_dict": {}}, "not a file of tensors and plain values alone"),
        ({"state_dict": {}}, r"has no state_dict with one of encoder_config, .*: it was not written by train\.py"),
        ({"encoder_config": {"class_path": "os.system", "init_args": {}}, "state_dict": {}}, "got 'os.system'"),
        (
            {"encoder_config": {"class_path": "voxcert.encoders.ecapa.ECAPA", "init_args": TINY}, "state_dict": {}},
            "do not fit its encoder_config",
        ),
    ],
)
def test_foreign_checkpoints_are_refused(tmp_path, content, message):
    path = tmp_path / "run.ckpt"
    torch.save(content, path)
    with pytest.raises(CheckpointError, match=message):
        export(path, tmp_path / "mini")
    assert not (tmp_path / "mini").exists()


def test_pickle_posing_as_weights_is_never_read(run, tmp_path):
    folder = export(run[1], tmp_path / "mini")
    (folder / "model.safetensors").write_bytes(pickle.dumps({"weight": 1}))
    with pytest.raises(CheckpointError, match="is not a safetensors file"):
        voxcert.load_encoder(folder)


def test_config_of_no_training_run_is_told(run, tmp_path):
    (tmp_path / "other.yaml").write_text("sigma: 0.1")
    with pytest.raises(ValueError, match=r"config must be the config\.yaml of a training run, got .*other\.yaml"):
        export(run[1], tmp_path / "mini", config=str(tmp_path / "other.yaml"))


@pytest.mark.parametrize("network", [SincNet(2, chunk_samples=640, num_filters=4, channels=4, dim=8), ECAPA(**TINY)])
def test_the_card_of_a_network_that_names_speakers_says_which(tmp_path, network):
    labels = {"anna": 0, "ben": 1}
    state = {f"encoder.{name}": value for name, value in network.state_dict().items()}
    torch.save({"encoder_config": network.config, "state_dict": state, "classes": labels}, tmp_path / "run.ckpt")
    folder = export(tmp_path / "run.ckpt", tmp_path / "mini")
    named = {"classes": labels_hash(labels)} if isinstance(network, SincNet) else {}
    assert {name: value for name, value in read_card(folder)["training"].items() if name == "classes"} == named
    assert "anna" not in (folder / "card.json").read_text()
