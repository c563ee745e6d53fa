"""What a user types: `voxcert report`, which writes a page, prints tables, and sends both where asked."""

import re
import shutil

import pytest

from voxcert.cli import main
from voxcert.evaluation.report.tracking import log_report


def report(*args):
    main(["report", *map(str, args)])


def message(capsys, *args):
    """The error that a user sees; the exit status must be 2."""
    with pytest.raises(SystemExit) as stop:
        report(*args)
    assert stop.value.code == 2
    return capsys.readouterr().err


def test_a_page_of_several_runs_beside_their_tables(runs, tmp_path, capsys):
    folders = [shutil.copytree(run, tmp_path / run.name) for run in runs]
    report(*folders, "--output", tmp_path / "pages" / "mine.html", "--title", "Our audit")
    printed = capsys.readouterr().out
    assert f"\n{tmp_path}/pages/mine.html\n" in printed
    assert "| vote " in printed
    assert "<h1>Our audit</h1>" in (tmp_path / "pages" / "mine.html").read_text()
    report(folders[0])
    assert f"\n{folders[0]}/report.html\n" in capsys.readouterr().out
    assert "<h1>tiny</h1>" in (folders[0] / "report.html").read_text()


def test_systems_that_have_nothing_in_common_share_a_page(runs, tmp_path, capsys):
    """An attack on another encoder and certificates whose noise is elsewhere have pictures of their own."""
    certified, _, attacked, bare = (shutil.copytree(run, tmp_path / run.name) for run in runs)
    text = (bare / "rows.jsonl").read_text()
    (bare / "rows.jsonl").write_text(re.sub(r'"encoder": ?"[0-9a-f]+"', '"encoder": "ffffffffffffffff"', text))
    config = (bare / "config.yaml").read_text()
    (bare / "config.yaml").write_text(re.sub("(?m)^certified: .*$", "certified: null", config))
    features = shutil.copytree(certified, tmp_path / "features")
    text = (features / "rows.jsonl").read_text()
    (features / "rows.jsonl").write_text(re.sub(r'"noise_at": ?"waveform"', '"noise_at": "features"', text))
    report(certified, features, attacked, bare, "--output", tmp_path / "all.html")
    printed = capsys.readouterr().out
    assert f"\n{attacked}/certified_empirical.png\n" in printed
    assert f"\n{bare}/robust_accuracy.png\n" in printed
    assert printed.count(" certificates of ") == 1, "the attack on what was certified, and no other"
    assert (tmp_path / "all.html").is_file()


def test_runs_without_a_common_sound_rule_have_a_page_without_the_picture_of_both(runs, tmp_path, capsys):
    folders = [shutil.copytree(runs[0], tmp_path / name) for name in ("vote", "published_mean")]
    for folder in folders:
        lines = (folder / "rows.jsonl").read_text().splitlines(keepends=True)
        (folder / "rows.jsonl").write_text("".join(line for line in lines if f'"{folder.name}"' in line))
    report(*folders, "--output", tmp_path / "both.html")
    assert "No picture compares these runs: they have no sound rule in common." in capsys.readouterr().out
    assert not (folders[0] / "certified_comparison.png").exists()
    assert (tmp_path / "both.html").is_file()


def test_trials_of_one_kind_have_a_page_that_says_so(runs, tmp_path, capsys):
    folder = shutil.copytree(runs[1], tmp_path / "cut")
    (folder / "summary.json").unlink()
    first, *_ = (folder / "rows.jsonl").read_text().splitlines(keepends=True)
    (folder / "rows.jsonl").write_text(first)
    report(folder)
    printed = capsys.readouterr()
    assert "one kind is still missing" in printed.out
    assert "other processes" not in printed.err
    (folder / "rows.rank1.jsonl").write_text(first)
    report(folder)
    assert f"{folder}: without the rows of other processes" in capsys.readouterr().err
    assert "one kind is still missing" in (folder / "report.html").read_text()


def test_a_pdf_needs_a_browser(runs, tmp_path, monkeypatch, capsys):
    folder = shutil.copytree(runs[0], tmp_path / "run")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "error: pdf needs Chromium" in message(capsys, folder, "--pdf", "true")


@pytest.mark.parametrize("name", ["report.pdf", "report.PDF"])
def test_a_page_that_its_pdf_would_replace_is_refused_before_anything_is_drawn(runs, tmp_path, capsys, name):
    folder = shutil.copytree(runs[0], tmp_path / "run")
    (folder / "certified_accuracy.png").unlink()
    printed = message(capsys, folder, "--pdf", "true", "--output", tmp_path / name)
    assert printed == (
        f"error: output must be the page, such as report.html, beside which the PDF goes, got {tmp_path / name}\n"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert not (folder / "certified_accuracy.png").exists()


def test_radii_are_refused_where_no_run_names_speakers(runs, tmp_path, capsys):
    verified = shutil.copytree(runs[1], tmp_path / "verified")
    printed = message(capsys, verified, "--radii", "[0.001]")
    assert f"error: radii must be null without a run that names speakers, got [0.001] for {verified}" in printed
    report(shutil.copytree(runs[0], tmp_path / "certified"), verified, "--radii", "[0.0007]")
    assert "0.0007" in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore::DeprecationWarning:wandb")
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # wandb's own service process outlives the run
def test_page_and_plots_go_to_weights_and_biases(runs, tmp_path, monkeypatch):
    folder = shutil.copytree(runs[0], tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "offline")
    logged = []
    monkeypatch.setattr(
        "voxcert.evaluation.report.tracking.log_report",
        lambda run, page, pictures: (logged.append((page, pictures)), log_report(run, page, pictures)),
    )
    report(folder, "--wandb", "voxcert-test")
    plot = folder / "certified_accuracy.png"
    assert logged == [(folder / "report.html", {"run/certified_accuracy": plot})]
    kept = {path.read_bytes() for path in (folder / "wandb").rglob("*") if path.suffix in (".html", ".png")}
    assert kept >= {plot.read_bytes()}
    assert any(b"What was proved" in content for content in kept)
