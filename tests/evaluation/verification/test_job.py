"""The job on a toy: what it writes, how it goes on after being killed, and what it refuses."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from voxcert.evaluation.certification.folder import read_trials_of_run
from voxcert.evaluation.certification.settings import CertificationSettings
from voxcert.evaluation.metrics.detection import crossing_error_rate
from voxcert.evaluation.run.folder import ROWS
from voxcert.evaluation.run.job import Provenance, rows_path
from voxcert.evaluation.verification.job import verify_speakers
from voxcert.rows import RowWriter


@pytest.fixture
def settings(tmp_path):
    radii = [0.0, 0.02, 0.05]
    options = {"num_select": 20, "num_estimate": 200, "accelerator": "cpu", "radii": radii, "batch_size": 50}
    return CertificationSettings(str(tmp_path / "run"), sigma=0.05, task="verification", **options)


def timeless(folder):
    return [replace(row, seconds=0.0) for row in read_trials_of_run(folder)]


def test_every_utterance_claims_to_be_every_tested_speaker(toy, settings, tmp_path):
    summary = verify_speakers(*toy, settings, Provenance("abc", {}, "verify it"))
    rows = read_trials_of_run(tmp_path / "run")
    assert len(rows) == 13 * 4 * 2
    assert (tmp_path / "run" / "certified_error_rates.png").stat().st_size > 10_000
    assert json.loads((tmp_path / "run" / "summary.json").read_text()) == summary
    entry = summary["verifiers"]["embedding"]
    assert (entry["num_genuine"], entry["num_impostor"], entry["num_speakers"]) == (13, 39, 4)
    assert summary["num_failed"] == 1
    assert summary["total_forwards"] == 12 * 220, "one pass serves all claims and both verifiers"
    rates = [rate["eer"] for rate in entry["rates"]]
    assert rates == sorted(rates), "a larger ball can only hold more errors"
    failed = [row for row in rows if row.failed]
    assert {row.utterance for row in failed} == {"d9"}
    assert {row.failed for row in failed} == {"d9.wav: empty: the file has 0 bytes"}


def test_what_cannot_be_read_counts_as_an_error(toy, settings):
    encoder, data = toy
    data.tests = [item for item in data.tests if item["utterance"] in ("a0", "b0", "d9")]
    entry = verify_speakers(encoder, data, replace(settings, threshold=0.5))["verifiers"]["vote"]
    assert entry["rates"][0]["frr"] == pytest.approx(1 / 3)
    assert entry["rates"][0]["far"] == pytest.approx(2 / 6)


def test_without_an_attack_and_with_many_samples_it_is_the_smoothed_rate(toy, settings):
    encoder, data = toy
    data.tests = data.tests[:-1]
    for item in data.tests:  # hard: everybody sounds half like somebody else
        other = data.centers["abcd"[("abcd".index(item["speaker"]) + 1) % 4]]
        item["waveform"] = 0.5 * item["waveform"] + 0.5 * other
    summary = verify_speakers(encoder, data, replace(settings, num_estimate=10_000, batch_size=2000))
    rows = [row for row in read_trials_of_run(settings.output_dir) if row.verifier == "embedding"]
    scores, genuine = np.array([row.score for row in rows]), np.array([row.target for row in rows])
    entry = summary["verifiers"]["embedding"]
    assert 0 < crossing_error_rate(scores[genuine], scores[~genuine]) == entry["smoothed_eer"] < 0.5
    assert all(row.lower[0] < row.score < row.upper[0] < row.lower[0] + 0.1 for row in rows)
    slack = crossing_error_rate(scores[genuine] - 0.1, scores[~genuine] + 0.1)
    assert entry["smoothed_eer"] <= entry["rates"][0]["eer"] <= slack < 0.5


def test_continues_after_a_kill_with_the_same_result(toy, settings, tmp_path):
    whole = replace(settings, output_dir=str(tmp_path / "whole"))
    verify_speakers(*toy, whole)
    rows, folder = read_trials_of_run(whole.output_dir), tmp_path / "run"
    verify_speakers(*toy, settings)
    (folder / ROWS).unlink()
    with RowWriter(rows_path(folder, 1)) as other:
        other.write(rows[:11])  # the first utterance, and a part of the second
    verify_speakers(*toy, settings)
    assert timeless(folder) == timeless(whole.output_dir)


def test_open_set_has_strangers(toy, settings, tmp_path):
    open_set = replace(settings, task="open_set", enrolled=["a", "b"])
    summary = verify_speakers(*toy, open_set)
    rows = read_trials_of_run(tmp_path / "run")
    assert len(rows) == 13 * 2
    entry = summary["verifiers"]["embedding"]
    assert (entry["num_genuine"], entry["num_impostor"], summary["num_enrolled"]) == (6, 7, 2)
    assert {row.claim for row in rows if row.speaker == "a"} == {"a"}
    assert all(row.lower[0] > row.lower[1] for row in rows if row.target)


def test_who_is_not_enrolled_is_an_impostor_only(toy, settings, tmp_path):
    encoder, data = toy
    enrolled = {name: data.centers[name] for name in "abc"}
    data.enrollment_dataloader = lambda stage: [
        {"waveform": torch.stack(list(enrolled.values())), "speaker": list(enrolled)}
    ]
    entry = verify_speakers(encoder, data, settings)["verifiers"]["vote"]
    assert (entry["num_genuine"], entry["num_impostor"]) == (9, 9 * 2 + 4 * 3)
    assert {row.claim for row in read_trials_of_run(tmp_path / "run")} == set("abc")


@pytest.mark.parametrize(
    ("rules", "verifiers"),
    [
        (["vote"], ["vote"]),
        (["distribution"], ["embedding"]),
        (["mean", "lipschitz"], ["embedding"]),
        (["vote", "distribution"], ["embedding", "vote"]),
    ],
)
@pytest.mark.parametrize("task", [{}, {"task": "open_set", "enrolled": ["a", "b"]}])
def test_rules_choose_the_verifiers(toy, settings, tmp_path, rules, verifiers, task):
    summary = verify_speakers(*toy, replace(settings, rules=rules, num_impostors=None if task else 1, **task))
    assert list(summary["verifiers"]) == verifiers
    rows = read_trials_of_run(tmp_path / "run")
    assert len(rows) == 13 * (1 if task else 2) * len(verifiers), "one of them is about a file that cannot be read"


def test_few_impostors(toy, settings, tmp_path):
    verify_speakers(*toy, replace(settings, num_impostors=1))
    rows = read_trials_of_run(tmp_path / "run")
    assert len(rows) == 13 * 2 * 2
    assert sum(row.target for row in rows) == 13 * 2


def test_more_impostors_than_there_are_are_refused(toy, settings, tmp_path):
    with pytest.raises(ValueError, match=r"num_impostors must be in \[1, 3\], of the 4 speakers .*, got 4"):
        verify_speakers(*toy, replace(settings, num_impostors=4))
    verify_speakers(*toy, replace(settings, num_impostors=3))
    assert len(read_trials_of_run(tmp_path / "run")) == 13 * 4 * 2


def test_one_tested_speaker_is_refused_before_anybody_is_enrolled(toy, settings, tmp_path):
    encoder, data = toy
    data.tests = [item for item in data.tests if item["speaker"] == "a"]
    with pytest.raises(ValueError, match="2 or more tested speakers, for verification, got 1"):
        verify_speakers(encoder, data, settings)
    assert not (tmp_path / "run").exists()


def test_a_folder_whose_run_was_refused_after_the_enrolment_takes_the_corrected_one(toy, settings, tmp_path):
    encoder, data = toy
    with pytest.raises(ValueError, match="enrolled must leave strangers"):
        verify_speakers(encoder, data, replace(settings, task="open_set", sigma=0.1, enrolled=list("abcd")))
    assert (tmp_path / "run" / "prototypes.safetensors").is_file()
    summary = verify_speakers(encoder, data, settings)
    own = (tmp_path / "run" / "prototypes.safetensors").read_bytes()
    assert verify_speakers(encoder, data, replace(settings, output_dir=str(tmp_path / "new"))).keys() == summary.keys()
    assert own == (tmp_path / "new" / "prototypes.safetensors").read_bytes(), "not those enrolled at another sigma"
    with pytest.raises(ValueError, match="holds a run with other settings: sigma is 0.05 there, got 0.1"):
        verify_speakers(encoder, data, replace(settings, sigma=0.1))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": "open_set", "enrolled": ["a", "b", "c", "d"]}, "enrolled must leave strangers among 4 tested"),
        ({"task": "open_set", "enrolled": ["a", "x"]}, "enrolled must name 2 or more of the speakers"),
    ],
)
def test_refuses_data_without_both_kinds_of_trials(toy, settings, changes, message):
    with pytest.raises(ValueError, match=message):
        verify_speakers(*toy, replace(settings, **changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": "diarization"}, "task must be one of identification, verification, open_set, got 'diarization'"),
        ({"task": "open_set"}, "enrolled must be given for the task open_set and for no other, got None"),
        ({"enrolled": 3}, "enrolled must be given for the task open_set and for no other, got 3"),
        ({"num_impostors": 0}, "num_impostors must be at least 1, for the task verification, got 0"),
        ({"task": "identification", "num_impostors": 1}, "num_impostors must be at least 1, for the task verific"),
        ({"threshold": -1.0}, "threshold must be a cosine in .-1, 1., for the tasks verification and open_set, got -1"),
        ({"radii": [0.1, 0.0]}, "radii must be ascending, for the tasks verification and open_set, got .0.1, 0.0."),
        ({"threshold": 2.0}, "threshold must be a cosine in .-1, 1., for the tasks verification and open_set, got 2"),
        ({"threshold": float("nan"), "cohort": 3}, "threshold must be a finite number beside a cohort, got nan"),
        ({"task": "open_set", "enrolled": 2, "cohort": 3}, "cohort must be null but for the task verification, got 3"),
        ({"cohort": 1}, "cohort must be a part of the data or at least 2 speakers, got 1"),
        ({"trials": "x", "num_impostors": 2}, "trials must be null but for the task verification without num_impost"),
        ({"trials_hash": "0123"}, "trials_hash must be null without trials, got '0123'"),
        ({"num_looks": 2}, "num_looks and num_shards must be 1 and keep_statistics false but for the task identific"),
    ],
)
def test_settings_that_do_not_belong_together_are_refused(settings, changes, message):
    with pytest.raises(ValueError, match=message):
        replace(settings, **changes)
