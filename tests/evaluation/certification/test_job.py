"""The job on a toy: what it writes, how it goes on after being killed, and what it refuses."""

import inspect
import json
from dataclasses import fields, replace

import pytest
import torch
import yaml

from tiny import TINY
from voxcert.encoders.ecapa import ECAPA
from voxcert.evaluation.certification import system
from voxcert.evaluation.certification.folder import read_run
from voxcert.evaluation.certification.job import certify_speakers
from voxcert.evaluation.certification.settings import CertificationSettings
from voxcert.evaluation.run import speed
from voxcert.evaluation.run.folder import ROWS
from voxcert.evaluation.run.job import Provenance, rows_path
from voxcert.evaluation.verification.job import verify_speakers
from voxcert.rows import RowWriter
from voxcert.smoothing import CertifiedScore, Certifier, kept_embeddings
from voxcert.smoothing.kept_embeddings import KeptEmbeddings

SHARDS = {"num_shards": 2, "keep_statistics": True, "batch_size": 16, "compile": False}


@pytest.fixture
def settings(tmp_path):
    return CertificationSettings(
        str(tmp_path / "run"), sigma=0.05, num_select=10, num_estimate=40, accelerator="cpu", radii=[0.0, 0.05]
    )


def without_times(folder):
    rows = [replace(row, seconds=0.0) for row in read_run(folder)]
    summary = json.loads((folder / "summary.json").read_text())
    return rows, {key: value for key, value in summary.items() if key != "timing"}


def test_writes_rows_summary_plot_and_config(toy, settings, tmp_path):
    summary = certify_speakers(*toy, settings, Provenance("abc", {"data": {"seed": 0}}, "certify it"))
    folder = tmp_path / "run"
    assert sorted(path.name for path in folder.iterdir()) == [
        ".lock",
        "certified_accuracy.png",
        "config.yaml",
        "plan.jsonl",
        "prototypes.safetensors",
        "rows.jsonl",
        "summary.json",
    ]
    assert json.loads((folder / "summary.json").read_text()) == summary
    assert summary["num_utterances"] == 13
    assert summary["num_speakers"] == 4
    assert summary["total_forwards"] == 12 * 50  # one pass serves all rules; the bad file costs nothing
    assert summary["command"] == "certify it"
    assert summary["timing"]["forwards_per_second"] > 0
    assert (summary["timing"]["processes"], summary["timing"]["threads"]) == (1, torch.get_num_threads())
    assert list(summary["rules"]) == settings.rules
    assert summary["rules"]["vote"]["certified_accuracy"][0]["value"] == pytest.approx(12 / 13)
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert config["data"] == {"seed": 0}
    assert config["checkpoint_hash"] == "abc"
    assert isinstance(config["batch_size"], int)
    assert {row.encoder for row in read_run(folder)} == {"abc"}


def test_bad_audio_is_a_row_with_the_reason(toy, settings, tmp_path):
    summary = certify_speakers(*toy, settings)
    bad = [row for row in read_run(tmp_path / "run") if row.utterance == "d9"]
    assert [row.rule for row in bad] == settings.rules
    assert {row.abstained for row in bad} == {"d9.wav: empty: the file has 0 bytes"}
    assert summary["num_failed"] == 1
    assert summary["rules"]["vote"]["abstained"] == {"d9.wav: empty: the file has 0 bytes": 1}


def test_all_audio_bad_is_still_a_result(toy, settings):
    encoder, data = toy
    data.tests = data.tests[-1:]
    summary = certify_speakers(encoder, data, settings)
    assert summary["rules"]["distribution"]["abstention_rate"] == 1.0


def test_continues_after_any_kill_with_the_same_result(toy, settings, tmp_path):
    whole = replace(settings, output_dir=str(tmp_path / "whole"), batch_size=16)
    certify_speakers(*toy, whole)
    rows = read_run(whole.output_dir)
    certify_speakers(*toy, replace(settings, batch_size=16))
    folder = tmp_path / "run"
    for name in (ROWS, "summary.json", "certified_accuracy.png"):
        (folder / name).unlink()
    with (
        RowWriter(rows_path(folder, 0)) as first,
        RowWriter(rows_path(folder, 1)) as second,
    ):  # two devices had been at it
        first.write(rows[:7])
        second.write(rows[20:24])
    with (folder / ROWS).open("a") as file:
        file.write(rows[7].to_json()[:50])
    certify_speakers(*toy, settings)  # the automatic batch size is the one that the folder has
    old, new = without_times(tmp_path / "whole"), without_times(folder)
    assert new == old
    kept = {row.utterance: row.seconds for row in read_run(folder)}
    assert kept[rows[0].utterance] == rows[0].seconds  # not computed again


def test_finished_run_computes_nothing_more(toy, settings):
    certify_speakers(*toy, settings)
    encoder, data = toy
    first = certify_speakers(encoder, data, replace(settings, batch_size=3))
    assert first["timing"]["seconds"] == certify_speakers(encoder, data, settings)["timing"]["seconds"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sigma", 0.1),
        ("alpha", 0.01),
        ("num_estimate", 80),
        ("rules", ["vote"]),
        ("seed", 1),
        ("precision", "bf16"),
        ("compile", True),
        ("keep_statistics", True),
    ],
)
def test_other_settings_are_refused(toy, settings, name, value):
    certify_speakers(*toy, settings)
    with pytest.raises(ValueError, match=f"{name} is .* there, got"):
        certify_speakers(*toy, replace(settings, **{name: value}))


def test_a_finished_run_answers_at_other_radii(toy, settings, tmp_path):
    certify_speakers(*toy, settings)
    rows = (tmp_path / "run" / "rows.jsonl").read_bytes()
    summary = certify_speakers(*toy, replace(settings, radii=[0.01]))
    assert [point["radius"] for point in summary["rules"]["vote"]["certified_accuracy"]] == [0.01]
    assert (tmp_path / "run" / "rows.jsonl").read_bytes() == rows


def test_a_run_is_not_continued_on_another_kind_of_device(toy, settings, tmp_path):
    """`auto` is kept as what it stood for, and compared as what it stands for."""
    here = "cuda" if torch.cuda.is_available() else "cpu"
    certify_speakers(*toy, replace(settings, accelerator="auto"))
    path = tmp_path / "run" / "config.yaml"
    config = yaml.safe_load(path.read_text())
    assert config["accelerator"] == here
    certify_speakers(*toy, replace(settings, accelerator=here))
    there = {"cpu": "cuda", "cuda": "cpu"}[here]
    path.write_text(yaml.safe_dump(config | {"accelerator": there}))
    for name in ("auto", here):
        with pytest.raises(ValueError, match=f"accelerator is '{there}' there, got '{here}'"):
            certify_speakers(*toy, replace(settings, accelerator=name))


@pytest.mark.parametrize(("precision", "products"), [(32, "highest"), ("tf32", "high")])
def test_products_are_computed_in_the_precision_of_the_run(toy, settings, precision, products):
    encoder, data = toy
    before, seen = torch.get_float32_matmul_precision(), []
    encoder.register_forward_pre_hook(lambda *_: seen.append(torch.get_float32_matmul_precision()))
    certify_speakers(encoder, data, replace(settings, precision=precision))
    assert products in seen
    assert seen[-1] == products
    assert torch.get_float32_matmul_precision() == before


def test_half_precision_is_another_classifier(toy, settings, tmp_path):
    summary = certify_speakers(*toy, replace(settings, precision="bf16"), Provenance("abc"))
    assert 1e-4 < summary["moved_from_float32"] < 0.1, "more than rounding in float32, and no more than bfloat16 does"
    assert {row.encoder for row in read_run(tmp_path / "run")} == {"abc in bf16"}
    assert "moved_from_float32" not in certify_speakers(*toy, replace(settings, output_dir=str(tmp_path / "full")))


def test_generated_code_gives_the_rows_that_the_encoder_gives(toy, settings, tmp_path):
    plain = replace(settings, output_dir=str(tmp_path / "plain"), rules=["vote"], batch_size=16)
    certify_speakers(*toy, plain)
    certify_speakers(*toy, replace(plain, output_dir=settings.output_dir, compile=True))
    assert without_times(tmp_path / "run")[0] == without_times(tmp_path / "plain")[0]
    kept = [yaml.safe_load((tmp_path / name / "config.yaml").read_text())["compile"] for name in ("run", "plain")]
    assert kept == [True, False], "of so few forwards, the automatic choice is not to compile"
    certify_speakers(*toy, replace(plain, output_dir=settings.output_dir))  # auto is what the folder has


def test_samples_that_are_split_give_the_rows_of_one_pass(toy, settings, tmp_path):
    encoder, data = toy
    data.tests = data.tests[-3:]  # two that can be heard, and one that cannot
    settings = replace(settings, num_select=4, num_estimate=300, batch_size=16, keep_statistics=True)
    whole = replace(settings, output_dir=str(tmp_path / "whole"))
    certify_speakers(encoder, data, whole)
    split = replace(settings, split="samples")
    assert split.parts == [(0, 150), (150, 300)]
    certify_speakers(encoder, data, split)
    assert without_times(tmp_path / "run")[0] == without_times(tmp_path / "whole")[0]
    for path in (tmp_path / "whole" / "statistics").iterdir():
        assert (tmp_path / "run" / "statistics" / path.name).read_text() == path.read_text()
    parts = tmp_path / "run" / "parts" / ROWS
    kept = parts.read_text().splitlines(keepends=True)
    parts.write_text("".join(kept[:3]) + kept[3][:50])  # killed in the middle
    (tmp_path / "run" / ROWS).unlink()
    certify_speakers(encoder, data, split)
    assert without_times(tmp_path / "run")[0] == without_times(tmp_path / "whole")[0]
    assert parts.read_text().splitlines(keepends=True)[:3] == kept[:3]


@pytest.mark.parametrize("read", [0, 1])
def test_a_recording_that_one_part_could_not_read_has_no_certificate(toy, settings, read, capsys):
    class Flaky(list):
        """Items whose second cannot be read once: at the first read or the next."""

        reads = 0

        def __getitem__(self, index):
            item = super().__getitem__(index)
            self.reads += index == 1
            lost = index == 1 and self.reads == read + 1
            return {"utterance": item["utterance"], "speaker": "d", "error": "it was away"} if lost else item

    encoder, data = toy
    data.tests = Flaky(data.tests[-3:])
    split = {"split": "samples", "num_select": 4, "num_estimate": 300, "log_format": "json"}
    summary = certify_speakers(encoder, data, replace(settings, batch_size=16, **split))
    rows = read_run(settings.output_dir)
    assert {row.abstained for row in rows if row.utterance == data.tests[1]["utterance"]} == {"it was away"}
    assert {row.num_forwards for row in rows} == {304, 0}
    assert summary["num_failed"] == 2
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines() if line.startswith("{")]
    assert lines[-1]["forwards_per_second"] > 0


def test_where_generated_code_is_wrong_auto_goes_on_without(toy, settings, tmp_path, monkeypatch, capsys):
    encoder, data = toy
    monkeypatch.setattr(speed, "WORTH_COMPILING", 0.0)
    monkeypatch.setattr(torch, "compile", lambda function, **options: lambda waveform: -function(waveform))
    certify_speakers(encoder, data, settings)
    assert "goes on without generated code: compile must be false for this encoder" in capsys.readouterr().err
    with pytest.raises(ValueError, match="compile must be false for this encoder, .* got one that is off by 2"):
        certify_speakers(encoder, data, replace(settings, compile=True, output_dir=str(tmp_path / "asked")))


def test_another_checkpoint_is_refused(toy, settings):
    certify_speakers(*toy, settings, Provenance("abc", {"checkpoint": "here"}))
    certify_speakers(*toy, settings, Provenance("abc", {"checkpoint": "moved"}))
    with pytest.raises(ValueError, match="checkpoint_hash is 'abc' there, got 'xyz'"):
        certify_speakers(*toy, settings, Provenance("xyz"))


def test_enrolment_noise_moves_the_prototypes(toy, settings, tmp_path):
    certify_speakers(*toy, settings)
    noisy = replace(settings, enroll_noise=5, output_dir=str(tmp_path / "noisy"))
    certify_speakers(*toy, noisy)
    points = [[row.point_radius for row in read_run(folder)] for folder in (tmp_path / "run", tmp_path / "noisy")]
    assert points[0] != points[1]


def test_one_speaker_is_not_enough(toy, settings):
    encoder, data = toy
    data.centers = {"a": torch.ones(200)}
    with pytest.raises(ValueError, match="at least 2 speakers, got 1"):
        certify_speakers(encoder, data, settings)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sigma": 0.0}, "sigma must be finite and above 0, got 0.0"),
        ({"alpha": 1.0}, r"alpha must be in \(0, 1\), got 1.0"),
        ({"sigma": 1.6}, "sigma must be at most 1.5 for noise at the waveform, got 1.6"),
        ({"target_radius": 0.1}, "target_radius must be null and tolerance 0.05 with one look, .*, got 0.1 and 0.05"),
        ({"tolerance": 0.5}, "target_radius must be null and tolerance 0.05 with one look, .*, got None and 0.5"),
        ({"rules": ["voting"]}, "rules must be different names out of"),
        ({"enroll_noise": -1}, "enroll_noise must be at least 0, got -1"),
        ({"precision": "low"}, "precision must be one of 32, tf32, bf16, 16, got 'low'"),
        ({"precision": 64}, "precision must be one of 32, tf32, bf16, 16, got 64"),
        ({"compile": "yes"}, "compile must be true, false or auto, got 'yes'"),
        ({"num_shards": 2}, "num_shards must be in .* unless statistics are kept, got 2 with num_estimate 40"),
        ({"num_shards": 41, "keep_statistics": True}, "num_shards must be in .*, got 41"),
        ({**SHARDS, "shard": 3}, "shard must be in .*, got 3 of 2"),
        ({**SHARDS, "num_looks": 2}, "num_looks must be 1, .* where num_shards is above 1, got num_looks 2,"),
        ({**SHARDS, "batch_size": "auto"}, "batch_size and compile the same .*, got num_looks 1, batch_size auto"),
        ({**SHARDS, "compile": "auto"}, "batch_size and compile the same .* batch_size 16 and compile auto"),
        ({"split": "bands"}, "split must be one of utterances, samples, got 'bands'"),
        ({"split": "samples"}, "num_estimate must be at least 640 for samples to be split, got 40"),
        ({"split": "samples", "num_estimate": 640, "num_looks": 2}, "split must be utterances but for"),
        ({"log_format": "xml"}, "log_format must be one of bar, json, got 'xml'"),
        ({"devices": 0}, "devices must be at least 1, got 0"),
        ({"radii": [-1.0]}, "radii must be one or more finite numbers of at least 0"),
    ],
)
def test_settings_are_checked(settings, changes, message):
    with pytest.raises(ValueError, match=message):
        replace(settings, **changes)


def test_settings_that_belong_together_are_taken(settings):
    assert replace(settings, sigma=1.5).sigma == 1.5
    assert replace(settings, sigma=16.0, noise_at="magnitude").sigma == 16.0
    assert replace(settings, num_looks=2, target_radius=0.1, tolerance=0.5).target_radius == 0.1


def test_missing_accelerator_is_told(toy, settings):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(ValueError, match="accelerator 'cuda' with devices 1 cannot be used"):
        certify_speakers(*toy, replace(settings, accelerator="cuda"))


@pytest.mark.parametrize("batch_size", [1, 5, 20])
def test_rows_do_not_depend_on_the_number_of_threads(toy, settings, tmp_path, batch_size):
    encoder, before = ECAPA(**TINY).eval(), torch.get_num_threads()
    data = type(toy[1])(time=8000, num_per_speaker=1)
    rows = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        folder = str(tmp_path / str(threads))
        own = replace(settings, output_dir=folder, batch_size=batch_size, compile=False)  # auto goes by the clock
        certify_speakers(encoder, data, own)
        rows.append([replace(row, seconds=0.0) for row in read_run(folder)])
    torch.set_num_threads(before)
    assert rows[0] == rows[1]


def test_defaults_are_those_of_the_certifier():
    theirs = inspect.signature(Certifier).parameters
    for field in fields(CertificationSettings):
        if field.name in theirs and field.name not in ("sigma", "rules"):
            assert field.default == theirs[field.name].default, field.name


def test_embeddings_that_are_kept_serve_every_other_question(toy, settings, tmp_path, monkeypatch):
    encoder, data = toy
    plain = certify_speakers(encoder, data, replace(settings, batch_size=16), Provenance("abc"))
    kept = replace(settings, batch_size=16, embeddings=str(tmp_path / "kept"), output_dir=str(tmp_path / "first"))
    assert certify_speakers(encoder, data, kept, Provenance("abc"))["rules"] == plain["rules"]
    monkeypatch.setattr(KeptEmbeddings, "write", lambda *args: pytest.fail("something was embedded again"))
    again = replace(kept, output_dir=str(tmp_path / "again"), alpha=0.01)
    fewer = replace(kept, output_dir=str(tmp_path / "fewer"), num_estimate=20)
    trials = replace(kept, output_dir=str(tmp_path / "trials"), task="verification")
    certify_speakers(encoder, data, again, Provenance("abc"))
    certify_speakers(encoder, data, fewer, Provenance("abc"))
    verify_speakers(encoder, data, trials, Provenance("abc"))
    unkept = replace(trials, output_dir=str(tmp_path / "unkept"), embeddings=None)
    verify_speakers(encoder, data, unkept, Provenance("abc"))
    mine, others = (read_run(one.output_dir, CertifiedScore) for one in (trials, unkept))
    assert [replace(row, seconds=0.0) for row in mine] == [replace(row, seconds=0.0) for row in others]


def test_a_run_that_goes_on_takes_what_it_had_embedded(toy, settings, tmp_path):
    kept = replace(settings, batch_size=16, embeddings=str(tmp_path / "kept"))
    certify_speakers(*toy, kept, Provenance("abc"))
    before = without_times(tmp_path / "run")
    (tmp_path / "run" / ROWS).unlink()
    certify_speakers(*toy, replace(kept, embeddings=None), Provenance("abc"))
    assert without_times(tmp_path / "run") == before


def test_the_time_to_generate_code_is_not_spent_on_what_is_embedded_already(toy, settings, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(system, "worth_compiling", lambda encoder, probe, num_rows: asked.append(num_rows))
    kept = replace(settings, batch_size=16, embeddings=str(tmp_path / "kept"))
    certify_speakers(*toy, kept, Provenance("abc"))
    certify_speakers(*toy, replace(kept, output_dir=str(tmp_path / "again"), alpha=0.01), Provenance("abc"))
    assert asked == [13 * 50, 0]


def test_more_speakers_than_there_are_are_rivals_and_no_more(toy, settings, tmp_path):
    plain = certify_speakers(*toy, settings, Provenance("abc"))
    many = replace(settings, output_dir=str(tmp_path / "many"), num_speakers=300)
    summary = certify_speakers(*toy, many, Provenance("abc"))
    assert (summary["num_speakers"], summary["num_made_up"]) == (300, 296)
    assert (plain["num_speakers"], plain["num_made_up"]) == (4, 0)
    few, large = ([row for row in read_run(tmp_path / name) if row.rule == "vote"] for name in ("run", "many"))
    assert all(row.radius <= other.radius for row, other in zip(large, few, strict=True))


def test_enrolment_is_kept_with_the_embeddings(toy, settings, tmp_path, monkeypatch):
    kept = replace(settings, batch_size=16, embeddings=str(tmp_path / "kept"), enroll_noise=2)
    certify_speakers(*toy, kept, Provenance("abc"))
    monkeypatch.setattr(KeptEmbeddings, "write", lambda *args: pytest.fail("something was embedded again"))
    monkeypatch.setattr(kept_embeddings, "replace_file", lambda *args: pytest.fail("enrolled again"))
    more = replace(kept, output_dir=str(tmp_path / "more"), num_speakers=10)
    assert certify_speakers(*toy, more, Provenance("abc"))["num_made_up"] == 6


def test_an_encoder_without_a_name_keeps_embeddings_under_its_hash(toy, settings, tmp_path, monkeypatch):
    encoder, data = toy
    kept = replace(settings, batch_size=16, embeddings=str(tmp_path / "kept"))
    certify_speakers(encoder, data, kept)
    monkeypatch.setattr(KeptEmbeddings, "write", lambda *args: pytest.fail("something was embedded again"))
    certify_speakers(encoder, data, replace(kept, output_dir=str(tmp_path / "again")))
    encoder.weight += 0.1
    with pytest.raises(pytest.fail.Exception, match="embedded again"):
        certify_speakers(encoder, data, replace(kept, output_dir=str(tmp_path / "other")))
