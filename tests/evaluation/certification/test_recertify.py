"""Certificates from kept statistics: what certifying anew gives, at any alpha and from shards, without an encoder."""

import json
from dataclasses import replace

import pytest
import torch

from voxcert.cli import main
from voxcert.evaluation.certification.folder import STATISTICS, read_run, write_prototypes
from voxcert.evaluation.certification.job import certify_speakers
from voxcert.evaluation.certification.recertify import recertify_runs
from voxcert.evaluation.certification.settings import CertificationSettings

RULES = ["distribution", "vote", "mean", "published_mean"]


@pytest.fixture
def settings(tmp_path):
    return CertificationSettings(
        str(tmp_path / "run"),
        sigma=0.05,
        num_select=10,
        num_estimate=40,
        batch_size=20,
        compile=False,
        rules=RULES,
        accelerator="cpu",
        keep_statistics=True,
    )


@pytest.fixture
def run(toy, settings, tmp_path):
    """The function that certifies the toy into a folder of this name, and gives the folder."""

    def certify(name, **changes):
        certify_speakers(*toy, replace(settings, output_dir=str(tmp_path / name), **changes))
        return str(tmp_path / name)

    return certify


def without_times(folder):
    """Rows, summary and statistics, but for what depends on the machine or names a folder."""
    rows = [replace(row, seconds=0.0) for row in read_run(folder)]
    with open(f"{folder}/summary.json") as file:
        summary = {key: value for key, value in json.load(file).items() if key not in ("timing", "command")}
    return rows, summary


@pytest.mark.parametrize("alpha", [0.2, 1e-5])
def test_another_alpha_equals_certifying_anew(run, tmp_path, alpha):
    first = run("run")
    again = recertify_runs([first], str(tmp_path / "again"), alpha, "recertify it")
    anew = run("anew", alpha=alpha)
    assert without_times(tmp_path / "again") == without_times(anew)
    assert {row.alpha for row in read_run(tmp_path / "again")} == {alpha}  # also where the audio was bad
    assert [row.radius for row in read_run(first)] != [row.radius for row in read_run(anew)]
    assert again["command"] == "recertify it"


def test_two_shards_are_the_undivided_run(run, tmp_path):
    halves = [run(f"half{shard}", num_shards=2, shard=shard) for shard in (1, 2)]
    recertify_runs(halves, str(tmp_path / "both"))
    recertify_runs(halves[::-1], str(tmp_path / "reversed"))
    whole = without_times(run("whole"))
    assert without_times(tmp_path / "both") == without_times(tmp_path / "reversed") == whole
    seconds = [sum(row.seconds for row in read_run(folder)) for folder in (*halves, tmp_path / "both")]
    assert seconds[2] == pytest.approx(seconds[0] + seconds[1])
    half = {row.key: row.radius for row in read_run(halves[0]) if not row.rule.startswith("published")}
    assert any(half[row.key] < row.radius for row in whole[0] if row.key in half)


def test_what_was_certified_again_is_a_run_of_its_own(run, tmp_path, capsys):
    """Back to the first alpha, and shown by `voxcert report`."""
    first, there, back = run("run"), tmp_path / "there", tmp_path / "back"
    recertify_runs([first], str(there), 0.1)
    recertify_runs([str(there)], str(back), 1e-3)
    assert without_times(back) == without_times(first)
    main(["report", str(there)])
    assert "distribution" in capsys.readouterr().out


def test_no_encoder_is_loaded(run, tmp_path, monkeypatch, capsys):
    """Neither networks nor the certifier's sampler are asked for anything."""
    first = run("run")

    def refuse(*args, **kwargs):
        raise AssertionError("an encoder was called or loaded")

    monkeypatch.setattr(torch.nn.Module, "__call__", refuse)
    monkeypatch.setattr("voxcert.encoders.loading.load_encoder", refuse)
    monkeypatch.setattr("voxcert.smoothing.sampler.NoisySampler.batch", refuse)
    main(["recertify", first, "--alpha", "0.05", "--output_dir", str(tmp_path / "again")])
    printed = capsys.readouterr().out
    assert "published_mean (not a guarantee)" in printed
    assert {row.alpha for row in read_run(tmp_path / "again")} == {0.05}
    with open(tmp_path / "again" / "summary.json") as file:
        assert json.load(file)["command"] == f"voxcert recertify {first} --alpha 0.05 --output_dir {tmp_path / 'again'}"


def message(capsys, *args):
    """The error that a user sees; the exit status must be 2."""
    with pytest.raises(SystemExit) as stop:
        main(["recertify", *map(str, args)])
    assert stop.value.code == 2
    return capsys.readouterr().err


def test_a_run_without_statistics_is_refused(run, tmp_path, capsys):
    plain = run("plain", keep_statistics=False)
    there = tmp_path / "there"
    assert "with keep_statistics, got" in message(capsys, plain, "--output_dir", there)
    assert "with keep_statistics, got" in message(capsys, tmp_path / "nowhere", "--output_dir", there)
    assert not there.exists()


def test_statistics_that_were_lost_or_damaged_are_named(run, tmp_path, capsys):
    first, there = run("run"), tmp_path / "there"
    (kept,) = (tmp_path / "run" / STATISTICS).glob("b1.json")
    kept.write_text("{}")
    assert "b1.json does not hold the statistics" in message(capsys, first, "--output_dir", there)
    kept.unlink()
    assert f"the statistics of b1, got {first} without them" in message(capsys, first, "--output_dir", there)
    assert not there.exists()


def test_an_unfinished_run_is_refused(run, tmp_path, capsys):
    first = run("run")
    (tmp_path / "run" / "summary.json").unlink()
    expected = f"{first} must be the folder of a finished run"
    assert expected in message(capsys, first, "--output_dir", tmp_path / "there")


def test_shards_must_be_all_of_one_run(run, tmp_path, capsys):
    one, two, three = (run(f"third{shard}", num_shards=3, shard=shard) for shard in (1, 2, 3))
    there = ("--output_dir", tmp_path / "there")
    assert "1 to 3, once each, got [1, 3]" in message(capsys, one, three, *there)
    assert "1 to 3, once each, got [1]" in message(capsys, one, *there)
    assert "1 to 3, once each, got [1, 2, 2]" in message(capsys, one, two, two, *there)
    assert "1 to 3, once each, got [1, 2, 3, 3]" in message(capsys, one, two, three, three, *there)
    half = run("half", num_shards=2, shard=2)
    assert f"got {half} with another num_shards" in message(capsys, one, half, *there)
    other = run("other", num_shards=3, shard=2, seed=1, sigma=0.06)
    assert f"got {other} with another seed, sigma" in message(capsys, one, other, three, *there)
    batches = run("batches", num_shards=3, shard=2, batch_size=32)
    assert f"got {batches} with another batch_size" in message(capsys, one, batches, three, *there)


def test_shards_of_other_prototypes_are_refused(run, tmp_path, capsys):
    """As where another machine computed them: statistics are about the prototypes they were counted for."""
    halves = [run(f"half{shard}", num_shards=2, shard=shard) for shard in (1, 2)]
    write_prototypes(halves[1], torch.eye(4, 8), list("abcd"))
    expected = f"must have enrolled the same vectors, got others in {halves[1]}"
    assert expected in message(capsys, *halves, "--output_dir", tmp_path / "there")


@pytest.mark.parametrize("alpha", ["0", "1", "1e-12"])
def test_alpha_out_of_range_is_refused(run, tmp_path, capsys, alpha):
    printed = message(capsys, run("run"), "--alpha", alpha, "--output_dir", tmp_path / "there")
    assert "alpha must be" in printed
    assert not (tmp_path / "there").exists()


def test_a_folder_with_a_run_is_not_written_to(run, capsys):
    first = run("run")
    before = without_times(first)
    assert "must be a new folder" in message(capsys, first, "--alpha", "0.1", "--output_dir", first)
    assert without_times(first) == before
