import math
from dataclasses import replace

import pytest
import torch

from voxcert.attacks import Audibility
from voxcert.evaluation.certification import CertificationSettings, certify_speakers
from voxcert.evaluation.certification.folder import read_run
from voxcert.evaluation.hearing import measure_hearing
from voxcert.evaluation.hearing.job import HEARING, hearing_row, read_hearing
from voxcert.evaluation.hearing.tables import hearing_statement, hearing_table, summarize_hearing
from voxcert.rows import replace_rows


@pytest.fixture
def run(toy, tmp_path):
    """A small certification run, and its data."""
    encoder, data = toy
    settings = {"num_select": 8, "num_estimate": 64, "batch_size": 8, "rules": ["vote", "distribution"]}
    settings |= {"sigma": 0.05, "accelerator": "cpu"}
    certify_speakers(encoder, data, CertificationSettings(str(tmp_path), **settings))
    return tmp_path, data


def test_a_perturbation_so_far_below_the_threshold_is_within_the_radius(run):
    folder, data = run
    rows = measure_hearing(folder, data)
    assert [row.key for row in rows] == [row.key for row in read_run(folder)]
    certified = [row for row in rows if row.margin_db is not None]
    assert certified
    heard = {item["utterance"]: item.get("waveform") for item in data.items("test")}
    for row in certified:
        audibility = Audibility(heard[row.utterance].double()[None])
        noise = torch.randn(1, 200, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        below = 10 ** ((row.margin_db + 0.01) / 20)  # more than g below, at its loudest place
        noise /= below * (audibility._power(noise) / audibility._threshold).amax().sqrt()
        assert noise.norm() < row.radius
        assert row.margin_db == pytest.approx(20 * math.log10(audibility.norm_bound().item() / row.radius))


def test_what_cannot_be_read_or_is_not_certified_for_its_speaker_has_no_margin(run, certificate):
    folder, data = run
    assert {row.margin_db for row in measure_hearing(folder, data) if row.utterance == "d9"} == {None}
    assert hearing_row(certificate(radius=0.1), 10.0).margin_db == pytest.approx(40)
    assert hearing_row(certificate(radius=0.1, prediction="b"), 10.0).margin_db is None
    assert hearing_row(certificate(radius=0.0), 10.0).margin_db is None


def test_another_crop_of_a_recording_has_no_margin(run):
    folder, data = run
    data.tests[0]["waveform"] = data.tests[0]["waveform"][20:]
    with pytest.raises(ValueError, match="data must have a0 as it was certified, 200 samples .* got 180"):
        measure_hearing(folder, data)


def test_what_was_heard_is_not_heard_again(run, monkeypatch):
    folder, data = run
    rows = measure_hearing(folder, data)
    assert read_hearing(folder) == rows
    replace_rows(folder / HEARING, rows[:4])  # as of a run that goes on
    heard = []
    monkeypatch.setattr("voxcert.evaluation.hearing.job.norm_bound", lambda item: heard.append(item["utterance"]))
    measure_hearing(folder, data)
    assert heard == list(dict.fromkeys(row.utterance for row in rows[4:]))


def test_what_was_heard_is_kept_when_it_is_cut_short(run, monkeypatch):
    folder, data = run
    bounds = iter([1.0, 2.0])
    monkeypatch.setattr("voxcert.evaluation.hearing.job.norm_bound", lambda item: next(bounds))
    with pytest.raises(StopIteration):
        measure_hearing(folder, data)
    assert {row.norm_bound for row in read_hearing(folder)} == {1.0, 2.0}
    assert [row.key for row in read_hearing(folder)] == [row.key for row in read_run(folder)[:4]]


def test_other_data_and_other_noise_are_refused(run):
    folder, data = run
    data.tests[0]["utterance"] = "another"
    with pytest.raises(ValueError, match="made with other data.*another"):
        measure_hearing(folder, data)
    replace_rows(folder / "rows.jsonl", [replace(row, noise_at="features") for row in read_run(folder)])
    with pytest.raises(ValueError, match="radii at the waveform, got those of the features"):
        measure_hearing(folder, data)


def test_summary_and_table_by_hand(certificate):
    """Margins of 40, 20 and -6.02 dB among four utterances."""
    radii = {"u0": 0.1, "u1": 1.0, "u2": 20.0, "u3": 0.0}
    rows = [hearing_row(certificate(radius=radius, utterance=name), 10.0) for name, radius in radii.items()]
    summary = summarize_hearing(rows)["distribution"]
    assert summary["num_certified"] == 3
    assert summary["num_all_hidden"] == 1
    assert summary["margins"] == pytest.approx([20 * math.log10(0.5), 20, 40])
    table = hearing_table({"distribution": summary})
    assert "| 3 of 4    | -6.0       | -6.0     | 20.0     | 40.0" in table
    assert "all that the masking threshold hides is covered for 1 of 4 utterances" in hearing_statement(
        {"distribution": summary}
    )


def test_margins_are_rounded_up_and_missing_ones_are_said(certificate):
    rows = [hearing_row(certificate(radius=0.3), 10.0), hearing_row(certificate(radius=0.0, utterance="u1"), 10.0)]
    summary = summarize_hearing(rows)
    assert 30.4 < summary["distribution"]["smallest"] < 30.46
    assert hearing_table(summary).splitlines()[2].split("|")[4:-1] == [
        " 30.5       ",
        " 30.5     ",
        " 30.5     ",
        " -        ",
    ]
    nothing = summarize_hearing(rows[1:])
    assert hearing_statement(nothing) == "No perturbation is covered: nothing was certified."
