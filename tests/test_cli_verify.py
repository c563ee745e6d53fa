"""A list of trials and a cohort on real speech: `certify.py --task verification`, and `voxcert verify` on its run."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml

from voxcert.cli import main
from voxcert.cli.certify import certify
from voxcert.data import LibriSpeech
from voxcert.deployment import SmoothedRecognizer
from voxcert.evaluation.certification.folder import read_prototypes, read_trials_of_run
from voxcert.smoothing.normalization import Cohort


@pytest.fixture(scope="module")
def recordings(librispeech):
    """Three recordings of each of ten speakers: paths of links below them, and their names."""
    found = [one for one in LibriSpeech(librispeech, parts=["test-other"]).utterances()]
    by_speaker = {}
    for one in found:
        by_speaker.setdefault(one.speaker, []).append(one)
    return {speaker: own[:3] for speaker, own in sorted(by_speaker.items())}


@pytest.fixture(scope="module")
def run(recordings, checkpoint, tmp_path_factory):
    """A verification run: six speakers are on a list in the order of VoxCeleb, the other four are the cohort."""
    folder = tmp_path_factory.mktemp("verify")
    for speaker, own in recordings.items():
        for one in own:
            path = folder / "voices" / speaker / Path(one.path).name
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(one.path, path)
    speakers = list(recordings)
    names = {speaker: sorted(path.name for path in (folder / "voices" / speaker).iterdir()) for speaker in speakers}
    corpus = {"class_path": "voxcert.data.SpeakerFolders", "init_args": {"root": str(folder / "voices")}}
    settings = {
        "checkpoint": str(checkpoint),
        "output_dir": str(folder / "run"),
        "task": "verification",
        "trials": str(folder / "trials.txt"),
        "cohort": 4,
        "cohort_nearest": 3,
        "sigma": 0.01,
        "num_select": 8,
        "num_estimate": 64,
        "batch_size": 16,
        "accelerator": "cpu",
        "radii": [0.0, 0.01],
        "data": {"corpus": corpus, "num_test_speakers": 6, "num_enroll": 1, "crop_seconds": 1.0},
    }
    (folder / "certify.yaml").write_text(yaml.safe_dump(settings))
    tested = _tested(settings)
    lines = []
    for speaker, other in zip(tested, tested[1:] + tested[:1], strict=True):
        first, second, _ = (f"{speaker}/{name}" for name in names[speaker])
        lines += [f"1 {first} {second}", f"0 {first} {other}/{names[other][2]}"]
    (folder / "trials.txt").write_text("\n".join(lines))
    certify(["--config", str(folder / "certify.yaml")])
    return folder, lines


def _tested(settings):
    from voxcert.data import SpeakerDataModule, SpeakerFolders

    data = settings["data"] | {"corpus": SpeakerFolders(settings["data"]["corpus"]["init_args"]["root"])}
    return sorted({one.speaker for one in SpeakerDataModule(**data).tested("test")})


def test_every_trial_of_the_list_is_certified_and_no_other(run):
    folder, lines = run
    rows = read_trials_of_run(folder / "run")
    fields = (line.replace(".flac", "").split() for line in lines)
    listed = {(label == "1", first, second) for label, first, second in fields}
    for verifier in ("embedding", "vote"):
        own = [row for row in rows if row.verifier == verifier]
        assert {(row.target, row.claim, row.utterance) for row in own} == listed
        assert len(own) == len(lines) == 12
    assert all(row.voice == row.claim.split("/")[0] for row in rows)
    entry = json.loads((folder / "run" / "summary.json").read_text())["verifiers"]["vote"]
    assert (entry["num_genuine"], entry["num_impostor"]) == (6, 6)


def test_rows_hold_cosines_and_the_map_that_the_cohort_fixes(run):
    folder, _ = run
    prototypes, names = read_prototypes(folder / "run")
    cohort = [name for name in names if "/" not in name]
    assert len(cohort) == 4, "who is on no side of a trial"
    known = Cohort(prototypes[[names.index(name) for name in cohort]], cohort, nearest=3)
    for row in read_trials_of_run(folder / "run"):
        fixed = known.normalization(prototypes[names.index(row.claim)])
        assert (row.norm_mean, row.norm_deviation) == pytest.approx((fixed.mean, fixed.deviation))
        assert -1 <= row.lower[1] <= row.lower[0] <= row.score <= row.upper[0] <= row.upper[1] <= 1
        assert row.bound(1) == pytest.approx(
            ((row.lower if row.target else row.upper)[1] - fixed.mean) / fixed.deviation
        )


def test_who_deploys_the_run_has_the_same_map(run, capsys):
    folder, _ = run
    row = next(row for row in read_trials_of_run(folder / "run") if row.target and row.verifier == "embedding")
    path = folder / "voices" / f"{row.utterance}.flac"
    capsys.readouterr()
    for threshold, accepted in ((row.bound(1) - 1, True), (row.normalized(row.upper[1]) + 1, False)):
        claim = ["--speaker", row.claim, f"--threshold={threshold}", "--classifier", "embedding"]
        main(["verify", str(path), "--run", str(folder / "run"), *claim])
        line = json.loads(capsys.readouterr().out)
        assert line["accepted"] is accepted
        assert line["threshold"] == threshold
        assert line["score"] == pytest.approx(row.normalized(row.score), abs=2)


def test_a_threshold_that_no_cosine_reaches_is_an_answer(run):
    folder, _ = run
    recognizer = SmoothedRecognizer.from_run(folder / "run")
    claim = next(name for name in recognizer.speakers if "/" in name)
    assert recognizer.verify(torch.linspace(-0.1, 0.1, 16000), claim, 1e6).accepted is False, "as certified rows say"


def test_another_list_is_another_run(run, capsys):
    folder, lines = run
    moved = folder / "moved.txt"
    shutil.copy(folder / "trials.txt", moved)
    certify(["--config", str(folder / "certify.yaml"), "--trials", str(moved)])
    other = folder / "other.txt"
    other.write_text("\n".join(lines[:-1]))
    with pytest.raises(SystemExit):
        certify(["--config", str(folder / "certify.yaml"), "--trials", str(other)])
    assert "trials_hash is " in capsys.readouterr().err
    other.write_text("\n".join([*lines, lines[0]]))
    with pytest.raises(SystemExit):
        certify(["--config", str(folder / "certify.yaml"), "--trials", str(other), "--output_dir", str(folder / "x")])
    assert "trials must be listed once, got 1 that do not" in capsys.readouterr().err


def test_the_config_of_a_run_repeats_it_with_the_same_list(run, tmp_path, capsys):
    folder, lines = run
    again = ["--config", str(folder / "run" / "config.yaml"), "--output_dir", str(tmp_path / "again")]
    certify(again)
    first, second = (read_trials_of_run(one) for one in (folder / "run", tmp_path / "again"))
    assert [replace(row, seconds=0.0) for row in first] == [replace(row, seconds=0.0) for row in second]
    other = tmp_path / "other.txt"
    other.write_text("\n".join(lines[2:]))
    with pytest.raises(SystemExit):
        certify([*again[:2], "--trials", str(other), "--output_dir", str(tmp_path / "third")])
    assert "trials must be the list with hash " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["--cohort", "5"], "cohort must be in [2, 4], the enrolled speakers who are neither tested nor claimed"),
        (["--cohort", "train"], "cohort must be a part with 2 or more enrolled speakers"),
        (["--cohort_nearest", "9"], "cohort_nearest must be in [2, 4], the speakers of the cohort, got 9"),
        (["--cohort", "null"], "cohort_nearest must be at least 2, beside a cohort, got 3 with None"),
        (["--num_impostors", "2"], "trials must be null but for the task verification without num_impostors"),
        (["--trials", "nowhere.txt"], "nowhere.txt"),
    ],
)
def test_mistakes_are_messages(run, capsys, tmp_path, changes, message):
    folder, _ = run
    with pytest.raises(SystemExit):
        certify(["--config", str(folder / "certify.yaml"), "--output_dir", str(tmp_path / "run"), *changes])
    assert message in capsys.readouterr().err.replace("\n", " ")
