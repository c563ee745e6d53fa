"""Every YAML file in configs/ is parsed and instantiated by the program that would read it."""

from dataclasses import fields, replace
from pathlib import Path

import lightning as L
import numpy as np
import pytest
import soundfile
import torch
import yaml
from jsonargparse import ArgumentParser
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader

from voxcert.attacks import save_universal
from voxcert.cli.attack import attack_parser
from voxcert.cli.audit import audit_parser
from voxcert.cli.certify import certify_parser
from voxcert.cli.defend import defend_parser
from voxcert.cli.invert import invert_parser
from voxcert.cli.options import settings
from voxcert.cli.train import train
from voxcert.data import LibriSpeech, SpeakerDataModule, write_manifest
from voxcert.encoders.checkpoint import build_encoder, save_checkpoint
from voxcert.encoders.ecapa import ECAPA
from voxcert.evaluation.attack.description import check_attack
from voxcert.evaluation.attack.settings import AttackSettings
from voxcert.evaluation.audit import AuditSettings
from voxcert.evaluation.defence.encoder import open_purifier
from voxcert.evaluation.defence.settings import DefenceSettings, check_comparison
from voxcert.evaluation.inversion.recordings import stretches
from voxcert.evaluation.inversion.settings import InversionSettings
from voxcert.purifiers import DiffusionPurifier
from voxcert.purifiers.checkpoint import build_purifier
from voxcert.training.generator_module import GeneratorModule
from voxcert.training.identification_module import IdentificationModule
from voxcert.training.purifier_module import PurifierModule

CONFIGS = Path(__file__).parents[1] / "configs"


def files(*groups):
    found = sorted(path for group in groups for path in (CONFIGS / group).glob("*.yaml"))
    assert found, f"no configs in {groups}"
    return pytest.mark.parametrize("path", found, ids=lambda path: path.stem)


def test_no_group_is_forgotten():
    groups = {path.parent.name for path in CONFIGS.rglob("*.yaml")}
    experiments = {"train", "certify", "attack", "audit", "invert", "purify"}
    parts = {"data", "encoder", "purifier"}
    assert groups == experiments | parts | {"trainer", "logger"}


@pytest.fixture(scope="session")
def noise_corpus(tmp_path_factory):
    """Noise in LibriSpeech's layout: configs are about names and shapes, not about speech."""
    root = tmp_path_factory.mktemp("librispeech")
    rng = np.random.default_rng(0)
    for part, speakers, utterances in (("train-clean-100", 24, 1), ("test-other", 2, 6)):
        for speaker in range(speakers):
            folder = root / part / f"{part[:2]}{speaker}" / "1"
            folder.mkdir(parents=True)
            for index in range(utterances):
                noise = 0.1 * rng.standard_normal(16_000 * 10)
                soundfile.write(folder / f"{part[:2]}{speaker}-1-{index:04d}.flac", noise, 16_000)
    return root


@pytest.fixture
def overrides(noise_corpus, tmp_path, monkeypatch):
    """Makes the arguments that point a config at the corpus of noise, where it wants LibriSpeech."""
    monkeypatch.setenv("VOXCERT_CACHE", str(tmp_path / "cache"))

    def make(path):
        text = path.read_text()
        if isinstance(named := yaml.safe_load(text).get("data"), str):
            text += (path.parent / named).read_text()
        root = noise_corpus / "train-clean-100" if "SpeakerFolders" in text else noise_corpus
        if "TimeSplit" in text or "librispeech_chunks" in text:
            return ["--data.corpus.init_args.corpus.init_args.root", str(root)]
        if "voxcert.data.Combined" in text:
            spoken = LibriSpeech(str(noise_corpus), ["test-other"]).utterances()
            first = spoken[0].speaker
            listed = [replace(one, part="train" if one.speaker == first else "test") for one in spoken]
            (tmp_path / "data/librispeech").mkdir(parents=True)
            (tmp_path / "data/librispeech/train-clean-100").symlink_to(noise_corpus / "train-clean-100")
            (tmp_path / "data/speechocean-adults").mkdir()
            write_manifest(listed, tmp_path / "data/speechocean-adults/manifest.csv")
            monkeypatch.chdir(tmp_path)
            return []
        if "voxcert.data.Manifest" in text:
            write_manifest(LibriSpeech(str(noise_corpus), ["train-clean-100"]).utterances(), tmp_path / "list.csv")
            return ["--data.corpus.path", str(tmp_path / "list.csv")]
        return [] if "espeak" in text.lower() else ["--data.corpus.root", str(root)]

    return make


@files("train")
def test_training_experiments(path, overrides, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "checkpoints").symlink_to(CONFIGS.parent / "checkpoints")  # some start from one
    arguments = ["--config", str(path), *overrides(path), "--trainer.accelerator", "cpu"]
    if path.stem == "noise_finetune":  # has to be told where the published weights are
        torch.save(ECAPA().network.state_dict(), tmp_path / "embedding_model.ckpt")
        arguments += ["--model.init_args.init_from", str(tmp_path)]
    if path.stem.startswith("campplus_robust") or path.stem == "ecapa_mini_distilled":
        cn = build_encoder(yaml.safe_load((CONFIGS / "encoder" / "campplus_cn.yaml").read_text()))
        save_checkpoint(cn, tmp_path / "campplus", {})  # published weights of that shape
        into = "distillation.init_args.teacher" if path.stem == "ecapa_mini_distilled" else "init_from"
        arguments += [f"--model.init_args.{into}", str(tmp_path / "campplus")]
    if path.stem.startswith("sincnet"):  # as many classes as there are speakers of noise
        arguments += ["--model.init_args.encoder.init_args.num_classes", "24", "--model.init_args.init_from", "null"]
    cli = train(arguments, run=False)
    if isinstance(cli.model, IdentificationModule):
        chunks = next(iter(cli.datamodule.train_dataloader()))["waveform"][:2]
        assert cli.model.eval()(chunks).shape == (2, cli.datamodule.num_classes)
        return
    waveform = next(iter(cli.datamodule.enrollment_dataloader("val")))["waveform"][:2]
    if isinstance(cli.model, PurifierModule):
        purifier = cli.model.purifier.eval()
        sample, step = waveform[:, :800], torch.tensor([0.0, 4.5])
        assert purifier.predict_noise(sample, step, purifier.network.condition(sample)).shape == (2, 800)
        return
    if isinstance(cli.model, GeneratorModule):
        dim = cli.model.generator.target_dim
        told = None if dim is None else torch.zeros(len(waveform), dim)
        assert all(part.shape == waveform.shape for part in cli.model.generator.eval()(waveform, told))
        return
    if cli.model.hparams.classification_weight > 0:
        assert cli.model.criterion.weight.shape[0] == cli.datamodule.num_classes
    assert cli.model.eval()(waveform).shape == (2, cli.model.encoder.dim)


@files("audit")
def test_audit_configs(path, overrides):
    parser = audit_parser()
    config = parser.parse_args([f"--config={path}", *overrides(path)])
    parts = parser.instantiate(config)
    assert isinstance(parts.data, SpeakerDataModule)
    settings(AuditSettings, config)


@files("certify")
def test_certification_experiments(path, overrides, tmp_path):
    arguments = ["--config", str(path), *overrides(path)]
    parser = certify_parser()
    config = parser.parse_args([*arguments, "--checkpoint", "any", "--output_dir", str(tmp_path)])
    data = parser.instantiate(config).data
    assert len(data.items("test")) > 0


@files("attack")
def test_attack_experiments(path, overrides, tmp_path):
    arguments = ["--config", str(path), *overrides(path), "--data.crop_seconds", "0.1"]
    if path.stem == "uap":  # has to be told where the perturbation is
        save_universal(tmp_path / "sound.safetensors", 0.01 * torch.ones(3200))
        arguments += ["--attack.path", str(tmp_path / "sound.safetensors")]
    parser = attack_parser()
    config = parser.parse_args([*arguments, "--checkpoint", "any", "--output_dir", str(tmp_path)])
    parts = parser.instantiate(config)
    settings = AttackSettings(**{field.name: config[field.name] for field in fields(AttackSettings)})
    check_attack(parts.attack, settings)
    items = parts.data.items("test")
    waveform = torch.stack([items[0]["waveform"], items[1]["waveform"]])
    weight = torch.randn(waveform.shape[1], 4, generator=torch.Generator().manual_seed(0)) / 40
    labels = torch.tensor([0, 1])
    adversarial = parts.attack(lambda waveform: waveform @ weight, waveform, labels, targeted=settings.targeted)
    largest = {"prototypes": 2, "noise": 1}.get(path.stem, 0.1)  # these need not be quiet
    assert 0 < (adversarial - waveform).abs().max() < largest


@files("purify")
def test_comparisons_of_defences(path, overrides, tmp_path, monkeypatch):
    monkeypatch.chdir(CONFIGS.parent)  # some defences are checkpoints
    parser = defend_parser()
    arguments = ["--config", str(path), *overrides(path), "--checkpoint", "any", "--output_dir", str(tmp_path)]
    parts = parser.instantiate(parser.parse_args([*arguments, "--data.crop_seconds", "0.4"]))
    DefenceSettings(**{field.name: parts[field.name] for field in fields(DefenceSettings)})
    check_comparison(parts.defences, parts.attacks, parts.text_embedder is not None, parts.transcriber is not None)
    waveform = torch.stack([parts.data.items("test")[index]["waveform"] for index in range(2)])
    for defence in parts.defences:
        text = None if parts.text_embedder is None else parts.text_embedder(["a text", ""])
        with torch.no_grad():
            assert open_purifier(defence.purifier)(waveform, text).shape == waveform.shape
    weight = torch.randn(waveform.shape[1], 4, generator=torch.Generator().manual_seed(0)) / 40
    for attack in parts.attacks.values():
        delta = attack(lambda waveform: waveform @ weight, waveform, torch.tensor([0, 1])) - waveform
        assert 0 < delta.abs().max() < 0.1


@files("invert")
def test_inversion_experiments(path, overrides, tmp_path, noise_corpus):
    parser = invert_parser()
    needs_speech = "speech" in yaml.safe_load(path.read_text())
    speech = ["--speech.init_args.root", str(noise_corpus)] * needs_speech
    arguments = ["--config", str(path), *overrides(path), *speech, "--checkpoint", "any", "--output_dir", str(tmp_path)]
    parts = parser.instantiate(parser.parse_args(arguments))
    settings = InversionSettings(**{field.name: parts[field.name] for field in fields(InversionSettings)})
    assert parts.data.num_classes == 24
    pool = stretches(parts.speech.utterances(), 640) if needs_speech else None
    for experiment in settings.experiments:
        assert experiment.start.draw(640, np.random.default_rng(0), pool).shape == (640,)


@files("data")
def test_data(path, overrides):
    parser = ArgumentParser()
    parser.add_class_arguments(SpeakerDataModule, "data", sub_configs=True)
    data = parser.instantiate(parser.parse_args(["--data", str(path), *overrides(path)])).data
    assert data.num_classes >= 2
    assert len(data.items("val") if data.num_val_speakers else data.train_dataloader()) > 0


@files("encoder")
def test_encoders(path):
    encoder = build_encoder(yaml.safe_load(path.read_text()))
    if path.stem == "ecapa_mini":
        assert sum(parameter.numel() for parameter in encoder.parameters()) < 1_000_000


@files("purifier")
def test_purifiers(path):
    purifier = build_purifier(yaml.safe_load(path.read_text()))
    if isinstance(purifier, DiffusionPurifier):
        assert purifier.scheduler.conditional == path.stem.startswith("tdap")
        assert (purifier.network.conditioner is not None) == path.stem.startswith("tdap")
    if path.stem.endswith("mini"):
        assert sum(parameter.numel() for parameter in purifier.parameters()) < 1_250_000


@files("trainer", "logger")
def test_trainers_and_loggers(path, noise_corpus, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    option = "--trainer" if path.parent.name == "trainer" else "--trainer.logger"
    experiment = ["--config", str(CONFIGS / "train" / "noise_augmented.yaml"), "--data.corpus.root", str(noise_corpus)]
    assert train([*experiment, option, str(path), "--trainer.accelerator", "cpu"], run=False).trainer.loggers


@pytest.mark.parametrize("when", [{"check_val_every_n_epoch": n} for n in (1, 2)] + [{"val_check_interval": 7}])
@files("trainer", "train")
def test_last_ckpt_is_the_end_of_a_training_whose_monitored_value_fell(path, when, tmp_path):
    class Falling(L.LightningModule):
        def training_step(self, batch, batch_idx):
            return self.weight * batch.sum()

        def validation_step(self, batch, batch_idx):
            self.log("certified/acr", 1 / self.global_step)

        def configure_optimizers(self):
            self.weight = torch.nn.Parameter(torch.ones(()))
            return torch.optim.SGD([self.weight], 1e-3)

    settings = yaml.safe_load(path.read_text())
    trainer = settings.get("trainer", settings)
    if trainer == "../trainer/default.yaml":
        return  # is among these files itself
    kinds = [one["init_args"] for one in trainer["callbacks"] if one["class_path"].endswith(".ModelCheckpoint")]
    assert len({kind.get("dirpath") for kind in kinds}) == 1, "last.ckpt lies beside best.ckpt"
    fitted = L.Trainer(
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        max_epochs=-1,
        max_steps=45,
        callbacks=[ModelCheckpoint(**kind | {"dirpath": tmp_path}) for kind in kinds],
        **({"check_val_every_n_epoch": None} if "val_check_interval" in when else {}) | when,
    )
    fitted.fit(Falling(), DataLoader(torch.ones(10)), DataLoader(torch.ones(1)))
    steps = {kept.name: torch.load(kept, weights_only=True)["global_step"] for kept in tmp_path.glob("*.ckpt")}
    assert steps.pop("last.ckpt") == 45
    best = 7 if "val_check_interval" in when else 10 * when["check_val_every_n_epoch"]
    assert steps == ({"best.ckpt": best} if len(kinds) == 2 else {})
