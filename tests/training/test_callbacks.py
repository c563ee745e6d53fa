import copy
import csv
import json
import re
import struct
import subprocess
import sys
import time

import pytest
import torch
import wandb
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import EMAWeightAveraging, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, WandbLogger
from wandb.proto import wandb_internal_pb2

from voxcert.data import SpeakerDataModule, write_manifest
from voxcert.encoders.base import enroll
from voxcert.evaluation.metrics.detection import crossing_error_rate
from voxcert.evaluation.run.processes import FilledBatches
from voxcert.rows import read_rows
from voxcert.smoothing import Certificate, CertifiedScore, ScoreCertifier
from voxcert.smoothing.certifier import Certifier
from voxcert.training.callbacks import CertificationCallback
from voxcert.training.encoder_module import EncoderModule

TIMES = {"seconds"}


def callback(**options):
    defaults = {"sigma": 0.01, "num_utterances": 3, "num_select": 8, "num_estimate": 32, "batch_size": 16}
    return CertificationCallback(**(defaults | options))


def rows_file(folder, epoch):
    """The rows of an epoch; their name also has the step."""
    (path,) = folder.glob(f"epoch={epoch}-step=*.jsonl")
    return path


def plain(rows):
    return [{k: v for k, v in json.loads(row.to_json()).items() if k not in TIMES} for row in rows]


def test_logs_metrics_and_writes_rows_curves_and_figures(module, data, trainer, tmp_path):
    logger = CSVLogger(tmp_path, name="", version="run")
    checkpoint = ModelCheckpoint(tmp_path / "checkpoints", monitor="certified/acr", mode="max")
    fitted = trainer(max_epochs=2, logger=logger, callbacks=[callback(), checkpoint], enable_checkpointing=True)
    fitted.fit(module, datamodule=data)
    metrics = fitted.callback_metrics
    assert metrics["certified/acr"] == metrics["certified/distribution/acr"]
    assert {"certified/abstention", "certified/ca@0.01", "certified/vote/acr"} <= metrics.keys()
    assert metrics["certified/forwards_per_second"] > 0
    assert checkpoint.best_model_path
    folder = tmp_path / "run" / "certification"
    for epoch in (0, 1):
        assert len(read_rows(rows_file(folder, epoch), Certificate)) == 3 * 2
        assert rows_file(folder, epoch).with_suffix(".png").stat().st_size > 10_000
    with (folder / "certified_accuracy.csv").open() as file:
        curve = list(csv.DictReader(file))
    assert {(row["epoch"], row["rule"]) for row in curve} == {
        (epoch, rule) for epoch in "01" for rule in ("distribution", "vote")
    }
    at_zero = next(row for row in curve if row["epoch"] == "1" and row["rule"] == "vote" and float(row["radius"]) == 0)
    assert float(at_zero["certified_accuracy"]) == pytest.approx(metrics["certified/vote/ca@0"].item(), abs=1e-5)


def test_rows_are_written_in_any_locale(tmp_path, monkeypatch):
    about = {"sigma": 0.01, "alpha": 1e-3, "seed": 0}
    rows = [Certificate.failed("ü/1", "ü", rule, "no such file", **about) for rule in ("vote", "distribution")]
    monkeypatch.setattr("io.text_encoding", lambda *given: "ascii")  # what a file is opened with
    callback()._write(rows, [], Trainer(logger=False, max_epochs=1, enable_checkpointing=False), tmp_path)
    assert read_rows(rows_file(tmp_path, 0), Certificate) == rows


def test_rows_are_those_of_the_certifier(module, data, trainer, tmp_path):
    """The callback adds nothing of its own: the same encoder, noise and enrolment give the same rows."""
    logger = CSVLogger(tmp_path, name="", version="run")
    trainer(logger=logger, callbacks=[callback(num_utterances=100)]).validate(module, datamodule=data, verbose=False)
    rows = read_rows(rows_file(tmp_path / "run" / "certification", 0), Certificate)
    with torch.no_grad():
        encoder = FilledBatches(module.encoder).eval()
        recognizer = enroll(encoder, data.enrollment_dataloader("val"), sigma=0.01, num_noise=2)
    options = {"sigma": 0.01, "num_select": 8, "num_estimate": 32, "batch_size": 16, "encoder_id": rows[0].encoder}
    certifier = Certifier(encoder, recognizer.prototypes, recognizer.speakers, **options)
    expected = [
        row
        for item in data.items("val")
        for row in certifier.certify(item["waveform"], utterance=item["utterance"], speaker=item["speaker"])
    ]
    assert plain(rows) == plain(expected)


def test_error_rates_are_those_of_a_verification_of_the_validation_speakers(module, data, trainer, tmp_path):
    logger = CSVLogger(tmp_path, name="", version="run")
    radii = [0.0, 0.005, 0.02]
    fitted = trainer(logger=logger, callbacks=[callback(num_utterances=100, eer_radii=radii)])
    fitted.validate(module, datamodule=data, verbose=False)
    folder = tmp_path / "run" / "certification"
    (path,) = folder.glob("trials-epoch=0-step=*.jsonl")
    trials = read_rows(path, CertifiedScore)
    voices = {one.speaker for one in data.tested("val")}
    assert {(row.utterance, row.claim) for row in trials} == {
        (one.id, claim) for one in data.tested("val") for claim in voices
    }
    with torch.no_grad():
        encoder = FilledBatches(module.encoder).eval()
        recognizer = enroll(encoder, data.enrollment_dataloader("val"), sigma=0.01, num_noise=2)
    options = {"sigma": 0.01, "num_select": 8, "num_estimate": 32, "batch_size": 16, "encoder_id": trials[0].encoder}
    certifier = ScoreCertifier(encoder, recognizer.prototypes, recognizer.speakers, **options)
    expected = [
        row
        for item in data.items("val")
        for row in certifier.verify(item["waveform"], radii, sorted(voices), item["utterance"], item["speaker"])
    ]
    assert plain(trials) == plain(expected)
    own = [row for row in trials if row.verifier == "embedding"]
    values = [float(fitted.callback_metrics[f"certified/eer@{radius:g}"]) for radius in radii]
    for index, value in enumerate(values):
        genuine, impostor = ([row.bound(index) for row in own if row.target == kind] for kind in (True, False))
        assert value == pytest.approx(crossing_error_rate(genuine, impostor))
    assert values == sorted(values)
    with (folder / "certified_error_rates.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [(row["verifier"], float(row["radius"])) for row in table] == [
        (verifier, radius) for verifier in ("embedding", "vote") for radius in radii
    ]
    assert [float(row["certified_eer"]) for row in table[:3]] == pytest.approx(values, abs=1e-5)


def test_error_rates_need_two_validation_speakers(module, data, trainer, tmp_path):
    alone = SpeakerDataModule(data.corpus, num_val_speakers=1, num_enroll=1, crop_seconds=0.5)
    fitted = trainer(callbacks=[callback(eer_radii=[0.0])])
    with pytest.raises(ValueError, match="eer_radii needs 2 or more validation speakers, got 1"):
        fitted.validate(module, datamodule=alone, verbose=False)


PUBLISHED = "published_mean (not a guarantee)"


def test_published_rules_are_named_as_what_they_are_not(module, data, trainer, tmp_path):
    """In metrics and curves; what is monitored is the first rule that is a guarantee, wherever it stands."""
    logger = CSVLogger(tmp_path, name="", version="run")
    certify = callback(rules=["published_mean", "vote", "published_se"], num_utterances=100)
    fitted = trainer(logger=logger, callbacks=[certify])
    fitted.validate(module, datamodule=data, verbose=False)
    metrics = fitted.callback_metrics
    assert metrics["certified/acr"] == metrics["certified/vote/acr"] > 0
    assert f"certified/{PUBLISHED}/acr" in metrics
    folder = tmp_path / "run"
    with (folder / "certification" / "certified_accuracy.csv").open() as file:
        assert {row["rule"] for row in csv.DictReader(file)} == {PUBLISHED, "vote", "published_se (not a guarantee)"}
    with (folder / "metrics.csv").open() as file:
        logged = {*metrics, *csv.DictReader(file).fieldnames}
    assert all("not a guarantee" in name for name in logged if "published" in name)


@pytest.mark.parametrize("rules", [["published_mean"], ["published_se", "published_mean"]])
def test_rules_without_a_guarantee_cannot_be_monitored(rules):
    with pytest.raises(ValueError, match=r"^rules must hold one that is a guarantee, got \['published"):
        callback(rules=rules)


def test_every_nth_validation_and_a_checkpoint_that_monitors_it(module, data, trainer, tmp_path):
    logger = CSVLogger(tmp_path, name="", version="run")
    options = {"rules": ["vote"], "every_n_epochs": 2, "num_utterances": 1, "radii": [0.002]}
    checkpoint = ModelCheckpoint(tmp_path / "checkpoints", monitor="certified/acr", save_top_k=-1)
    fitted = trainer(
        max_epochs=4, logger=logger, callbacks=[callback(**options), checkpoint], enable_checkpointing=True
    )
    fitted.fit(module, datamodule=data)
    epochs = [path.name.partition("-")[0] for path in (tmp_path / "run" / "certification").glob("*.jsonl")]
    assert sorted(epochs) == ["epoch=0", "epoch=2"]
    assert len(list((tmp_path / "checkpoints").glob("*.ckpt"))) == 4


@pytest.mark.filterwarnings("ignore:Experiment logs directory")  # Lightning's own, which it begins anew
@pytest.mark.filterwarnings("ignore:Checkpoint directory")
def test_a_training_begun_anew_in_a_folder_leaves_no_curve_of_the_one_before(
    encoder, data, trainer, tmp_path, monkeypatch
):
    """One that goes on keeps what was measured up to its step."""
    monkeypatch.setattr("voxcert.training.callbacks.plot_certified_accuracy", lambda rows, path: path.touch())
    folder = tmp_path / "run" / "certification"

    def steps(batch_size, begun=None):
        data.batch_size = batch_size
        saver = ModelCheckpoint(tmp_path / "kept", "{epoch}", save_top_k=-1, enable_version_counter=False)
        logger = CSVLogger(tmp_path, name="", version="run")
        certify = callback(num_utterances=1, num_estimate=8, rules=["vote"])
        fitted = trainer(max_epochs=2, logger=logger, callbacks=[certify, saver], enable_checkpointing=True)
        module = EncoderModule(copy.deepcopy(encoder), num_classes=4)
        fitted.fit(module, datamodule=data, ckpt_path=begun, weights_only=True)
        with (folder / "certified_accuracy.csv").open() as file:
            found = {(int(row["epoch"]), int(row["step"])) for row in csv.DictReader(file)}
        files = {path.stem for path in folder.glob("epoch=*.*")}
        assert files == {f"epoch={epoch}-step={step}" for epoch, step in found}
        return sorted(step for _, step in found)

    first, begun = steps(4), steps(8)
    assert first == [2 * step for step in begun]
    assert steps(8, tmp_path / "kept" / "epoch=0.ckpt") == begun


def test_without_a_logger_nothing_is_written(module, data, trainer, tmp_path, monkeypatch):
    """Such a run has no folder of its own: its files would lie in the working directory."""
    monkeypatch.chdir(tmp_path)
    fitted = trainer(callbacks=[callback(num_utterances=1, eer_radii=[0.0])], default_root_dir=None)
    fitted.fit(module, datamodule=data)
    assert fitted.callback_metrics["certified/acr"] >= 0
    assert not list(tmp_path.iterdir())


def test_a_validation_alone_certifies_whoever_s_turn_it_is(module, data, trainer, tmp_path):
    """Even after a training whose next turn is not now, and with settings of its own."""
    options = {"rules": ["vote"], "num_utterances": 2}
    fitted = trainer(callbacks=[callback(every_n_epochs=3, **options)])
    fitted.fit(module, datamodule=data)
    fitted.save_checkpoint(tmp_path / "one.ckpt")
    others = callback(every_n_epochs=3, sigma=0.25, **options)
    (metrics,) = trainer(logger=CSVLogger(tmp_path, name="", version="again"), callbacks=[others]).validate(
        module, datamodule=data, ckpt_path=tmp_path / "one.ckpt", weights_only=True, verbose=False
    )
    radii = {name.rpartition("@")[2] for name in metrics if "/ca@" in name}
    assert radii == {"0", "0.125", "0.25", "0.5"}
    (path,) = (tmp_path / "again" / "certification").glob("*.jsonl")
    rows = read_rows(path, Certificate)
    assert {row.sigma for row in rows} == {0.25}
    stored = torch.load(tmp_path / "one.ckpt", weights_only=True)
    moment = f"epoch={stored['epoch']}-step={stored['global_step']}"
    assert stored["global_step"] > 0
    assert {path.stem, *(row.encoder for row in rows)} == {moment}, "not that of an encoder that nobody trained"
    with (path.parent / "certified_accuracy.csv").open() as file:
        assert {row["step"] for row in csv.DictReader(file)} == {str(stored["global_step"])}
    assert others.state_dict()["num_validations"] == 1, "the count is of the training alone"


@pytest.mark.filterwarnings("ignore:You passed in a `val_dataloader` but have no `validation_step`")
def test_what_would_never_be_certified_is_refused_before_training(module, data, trainer):
    """Lightning calls no validation hook without validation batches, nor in a module that does not validate."""
    others = copy.copy(data)
    others.num_val_speakers = 0
    others.__dict__.pop("split", None)
    with pytest.raises(ValueError, match="'val' has no speakers: set num_val_speakers"):
        trainer(callbacks=[callback()]).fit(module, datamodule=others)
    unwatched = EncoderModule(module.encoder, others.num_classes)
    trainer(callbacks=[callback()], limit_val_batches=0).fit(unwatched, datamodule=others)

    class Silent(EncoderModule):
        validation_step = LightningModule.validation_step

    with pytest.raises(ValueError, match="certifies the encoder of a module that validates it, .* got a Silent: take"):
        trainer(callbacks=[callback()]).fit(Silent(module.encoder, data.num_classes), datamodule=data)


def test_weight_averaging_must_come_after(module, data, trainer):
    fitted = trainer(callbacks=[EMAWeightAveraging(), callback()])
    with pytest.raises(ValueError, match="must list CertificationCallback before the weight averaging"):
        fitted.fit(module, datamodule=data)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_utterances": 0}, "num_utterances must be at least 1, got 0"),
        ({"every_n_epochs": 0}, "every_n_epochs must be at least 1, got 0"),
        ({"sigma": -1.0}, "sigma must be .*, got -1.0"),
        ({"alpha": 1.0}, "alpha must be .*, got 1.0"),
        ({"rules": ["median"]}, "median"),
        ({"eer_radii": [0.1, 0.0]}, "eer_radii must be one or more finite numbers of at least 0, ascending, got .0.1,"),
    ],
)
def test_bad_options_are_named_before_training(options, message):
    with pytest.raises(ValueError, match=message):
        callback(**options)


def read_wandb_records(path):
    """Yields the records of a run's own file: LevelDB's log format after seven bytes of header."""
    content, position, parts = path.read_bytes(), 7, b""
    while position + 7 <= len(content):
        left = 32_768 - position % 32_768
        if left < 7:  # blocks end in padding
            position += left
            continue
        length, kind = struct.unpack_from("<HB", content, position + 4)  # after the checksum
        if position + 7 + length > len(content):  # still being written
            return
        parts += content[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield wandb_internal_pb2.Record.FromString(parts)
            parts = b""


def read_wandb_history(folder):
    """Every history record as a dict, once wandb's service has written the last one: it may outlive `finish`."""
    path, deadline = next(folder.rglob("*.wandb")), time.monotonic() + 60
    while not any(record.WhichOneof("record_type") == "exit" for record in read_wandb_records(path)):
        assert time.monotonic() < deadline, "wandb has not finished its file"
        time.sleep(0.1)
    for record in read_wandb_records(path):
        if record.WhichOneof("record_type") == "history":
            items = record.history.item
            yield {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}


@pytest.mark.filterwarnings("ignore::DeprecationWarning:wandb")
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # wandb's own service process outlives the run
def test_wandb_offline_run_holds_history_and_curve(module, data, trainer, tmp_path):
    logger = WandbLogger(project="voxcert", save_dir=tmp_path, offline=True)
    certify = callback(rules=["published_mean", "distribution", "vote"], eer_radii=[0.0, 0.01])
    trainer(max_epochs=2, logger=logger, callbacks=[certify]).fit(module, datamodule=data)
    wandb.finish()
    history = list(read_wandb_history(tmp_path))
    names = {name for record in history for name in record}
    assert f"certified/{PUBLISHED}/acr" in names
    assert all("not a guarantee" in name for name in names if "published" in name)
    acr = [record["certified/acr"] for record in history if "certified/acr" in record]
    assert len(acr) == 2
    steps = sorted(int(path.stem.partition("step=")[2]) for path in tmp_path.rglob("certification/epoch=*.jsonl"))
    for name in ("certified/curve_table/path", "certified/trials/path", "report/_type"):
        assert [record.get("trainer/global_step") for record in history if name in record] == steps
    tables = {}
    for name in ("certified/curve_table", "certified/rows", "certified/eer_curve_table", "certified/trials"):
        paths = [record[f"{name}/path"] for record in history if f"{name}/path" in record]
        assert len(paths) == 2  # one for each epoch
        tables[name] = json.loads(next(tmp_path.rglob(paths[-1].rpartition("/")[2])).read_text())
    curve = tables["certified/curve_table"]
    assert curve["columns"] == ["step", "lineKey", "lineVal"]
    assert {key for _, key, _ in curve["data"]} == {PUBLISHED, "distribution", "vote"}
    shares = [value for _, key, value in curve["data"] if key == "vote"]
    assert shares == sorted(shares, reverse=True)
    assert {"utterance", "radius", "rule"} <= set(tables["certified/rows"]["columns"])
    assert len(tables["certified/rows"]["data"]) == 3 * 3
    assert {key for _, key, _ in tables["certified/eer_curve_table"]["data"]} == {"embedding", "vote"}
    assert len(tables["certified/trials"]["data"]) == 3 * 2 * 2
    assert {"certified/eer@0", "certified/eer@0.01"} <= names
    rule = tables["certified/rows"]["columns"].index("rule")
    assert {row[rule] for row in tables["certified/rows"]["data"]} == {PUBLISHED, "distribution", "vote"}
    pages = [record for record in history if record.get("report/_type") == "html-file"]
    assert len(pages) == 2
    assert all(record["report/certified_accuracy/_type"] == "image-file" for record in pages)
    (page,) = tmp_path.rglob("certification/report.html")
    text = page.read_text()
    assert "Certified while training: epoch=1" in text
    figures = json.loads(re.search(r'id="figures">(.*?)</script>', text, flags=re.DOTALL)[1])
    drawn = {(curve["verifier"], curve["radius"]) for curve in figures["det"]["curves"]}
    assert drawn == {(verifier, radius) for verifier in ("vote", "embedding") for radius in (0.0, 0.01)}
    records = list(read_wandb_records(next(tmp_path.rglob("*.wandb"))))
    artifacts = [record.artifact for record in records if record.WhichOneof("record_type") == "artifact"]
    assert [one.type for one in artifacts if one.name == "report"] == ["report"] * 2


CONFIG = """
data:
  corpus: {{class_path: voxcert.data.Manifest, init_args: {{path: {manifest}}}}}
  num_val_speakers: 3
  num_enroll: 2
  crop_seconds: 1
trainer:
  accelerator: cpu
  enable_progress_bar: false
  logger: {{class_path: lightning.pytorch.loggers.CSVLogger, init_args: {{save_dir: {folder}, name: "", version: run}}}}
  callbacks:
    - class_path: voxcert.training.callbacks.CertificationCallback
      init_args:
        {{sigma: 0.01, num_utterances: 5, num_select: 8, num_estimate: 32, batch_size: 16, eer_radii: [0, 0.01]}}
model:
  class_path: voxcert.training.encoder_module.EncoderModule
  init_args:
    encoder:
      class_path: voxcert.encoders.ecapa.ECAPA
      init_args: {{channels: 16, mfa_channels: 48, dim: 24, attention_channels: 8, se_channels: 8, res2net_scale: 4}}
"""


def test_one_process_and_two_give_the_same_rows(espeak, tmp_path):
    """Validation of the same seeded encoder: two processes share the utterances and certify each once."""
    write_manifest(espeak.utterances(), tmp_path / "manifest.csv")
    rows, trials = {}, {}
    for devices in (1, 2):
        folder = tmp_path / str(devices)
        folder.mkdir()
        config = folder / "config.yaml"
        config.write_text(CONFIG.format(manifest=tmp_path / "manifest.csv", folder=folder))
        command = [sys.executable, "train.py", "validate", "--config", str(config)]
        strategy = ["--trainer.devices", "2", "--trainer.strategy", "ddp"] if devices == 2 else []
        done = subprocess.run([*command, *strategy], capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr
        rows[devices] = read_rows(rows_file(folder / "run" / "certification", 0), Certificate)
        (path,) = (folder / "run" / "certification").glob("trials-epoch=0-step=*.jsonl")
        trials[devices] = read_rows(path, CertifiedScore)
    assert len(rows[1]) == 5 * 2
    assert plain(rows[1]) == plain(rows[2])
    assert len(trials[1]) == 5 * 3 * 2, "every utterance claims to be each of three speakers, for two verifiers"
    assert plain(trials[1]) == plain(trials[2])


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"sigma": 0.02}, "must keep sigma of CertificationCallback, 0.01, got 0.02"),
        ({"num_utterances": 3}, "must keep num_utterances of CertificationCallback, 4, got 3"),
        ({"eer_radii": [0.0]}, r"must keep eer_radii of CertificationCallback, None, got \[0.0\]"),
    ],
)
def test_what_chose_the_best_checkpoint_is_kept(trainer, other, message):
    about = {"sigma": 0.01, "num_utterances": 4, "batch_size": 8}
    begun = CertificationCallback(**about).state_dict()
    older = {name: value for name, value in begun.items() if name != "settings"}
    for settings, state in (({"batch_size": 16}, begun), (other, older)):
        resumed = CertificationCallback(**about | settings)
        resumed.load_state_dict(state)
        resumed.on_train_start(trainer(), None)
    changed = CertificationCallback(**about | other)
    changed.load_state_dict(begun)  # who validates may ask otherwise
    with pytest.raises(ValueError, match=message):
        changed.on_train_start(trainer(), None)
