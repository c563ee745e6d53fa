import json
import re
import shlex
import shutil
from dataclasses import replace

import pytest
import soundfile
import torch
from audited import DATA, TINY

from voxcert.data import SpeakerDataModule, SpeakerFolders
from voxcert.encoders.loading import load_encoder
from voxcert.evaluation.attack.certified import certified_radii
from voxcert.evaluation.attack.row import AttackRow
from voxcert.evaluation.audit import AuditSettings, audit_encoder
from voxcert.evaluation.audit.job import FINISHED, PAGE, encoder_statement
from voxcert.evaluation.audit.stages import System, forwards
from voxcert.evaluation.certification.folder import PROTOTYPES
from voxcert.evaluation.hearing.job import read_hearing
from voxcert.evaluation.report.page import render_report
from voxcert.evaluation.report.runs import open_runs
from voxcert.evaluation.run.folder import read_config
from voxcert.evaluation.run.job import Provenance
from voxcert.rows import read_rows
from voxcert.smoothing.certified_score import CertifiedScore
from voxcert.smoothing.kept_embeddings import KeptEmbeddings

STAGES = ["fgsm", "pgd-linf", "pgd-l2", "black-box", "impostors"]
STAGES += [f"{kind}-0.001" for kind in ("certify", "verify", "inside", "outside", "hearing")]
TIMES = {"seconds", "forwards_per_second", "seconds_per_utterance", "seconds_per_forward", "minutes"}


def without_times(value):
    if isinstance(value, dict):
        return {name: 0 if name in TIMES else without_times(item) for name, item in value.items()}
    return [without_times(item) for item in value] if isinstance(value, list) else value


def content(folder, made_in):
    """All rows and summaries of an audit but for times and for where it was made, and the page that they make."""
    for path in sorted(folder.glob("*/*.json*")):
        lines = path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]
        path.write_text("".join(json.dumps(without_times(json.loads(line))) + "\n" for line in lines))
    runs = [folder / name for name in STAGES if (folder / name / "rows.jsonl").is_file()]
    page = re.sub(r"<time.*?</time>", "", render_report(open_runs(runs)))
    texts = {str(path.relative_to(folder)): path.read_text() for path in sorted(folder.glob("*/*.json*"))}
    return {name: text.replace(str(made_in), "FOLDER") for name, text in (texts | {"page": page}).items()}


def copied(audited, folder):
    """What an audit left, for a test that changes it."""
    shutil.copytree(audited[0], folder)
    return folder


def test_every_stage_leaves_its_rows_and_the_page_tells_of_them(audited):
    folder, plan = audited
    assert sorted(path.name for path in (folder / FINISHED).iterdir()) == sorted([*STAGES, "plan"])
    assert "held out" in (checked := (folder / "data.txt").read_text())
    assert "enrolment  1 recordings of a speaker at most, or segments of 0.4 s" in checked, "as the audit's data"
    assert plan["recommended"]["sigmas"] == [0.001]
    attacks = {name: read_rows(folder / name / "rows.jsonl", AttackRow) for name in STAGES[:5]}
    assert [len(rows) for rows in attacks.values()] == [6] * 5
    assert all(row.linf <= 0.002 + 1e-7 for row in attacks["fgsm"] + attacks["black-box"])
    assert all(row.l2 <= 0.1954 for row in attacks["pgd-l2"])
    assert {row.file is not None for row in attacks["pgd-linf"]} == {True}, "to be played"
    right = sum(row.clean == row.speaker for row in attacks["fgsm"])
    rate = json.loads((folder / "impostors" / "summary.json").read_text())["equal_error_rate"]
    said = encoder_statement(folder)
    assert f"names {right} of 6 recordings rightly" in said
    assert f"equal error rate of {100 * rate:.1f} %" in said
    page = (folder / PAGE).read_text()
    for name in ("fgsm", "nes", "vote", "distribution", "sigma 0.001, verification"):
        assert name in page


def test_the_smoothed_system_is_attacked_where_it_was_certified_and_outside(audited):
    folder, _ = audited
    radii = certified_radii(folder / "certify-0.001", "vote")
    assert radii, "or this test says nothing"
    inside = read_rows(folder / "inside-0.001" / "rows.jsonl", AttackRow)
    assert {row.utterance: row.radius for row in inside} == pytest.approx({u: 0.99 * r for u, r in radii.items()})
    assert not any(row.turned for row in inside)
    outside = read_rows(folder / "outside-0.001" / "rows.jsonl", AttackRow)
    assert min(row.radius for row in outside) > max(radii.values())
    assert {row.decision for row in inside + outside} == {"vote"}
    margins = [row for row in read_hearing(folder / "certify-0.001") if row.margin_db is not None]
    assert {row.utterance for row in margins if row.rule == "vote"} == set(radii)


def test_speakers_are_enrolled_once_for_the_encoder_and_once_for_each_sigma(audited):
    folder, _ = audited
    clean, noisy = ((folder / name / PROTOTYPES).read_bytes() for name in ("fgsm", "certify-0.001"))
    assert clean != noisy
    for name in STAGES[1:5]:
        assert (folder / name / PROTOTYPES).read_bytes() == clean
    for name in ("verify-0.001", "inside-0.001", "outside-0.001"):
        assert (folder / name / PROTOTYPES).read_bytes() == noisy


class Killed(Exception):
    """In place of a signal that no program survives."""


class Mortal(torch.nn.Module):
    """An encoder that ends everything after so many forwards."""

    def __init__(self, encoder, forwards):
        super().__init__()
        self.encoder, self.left, self.dim = encoder, forwards, encoder.dim

    def forward(self, waveform):
        """(batch, time) -> (batch, dim)."""
        self.left -= 1
        if self.left < 0:
            raise Killed
        return self.encoder(waveform)


class Counting(Mortal):
    """One that counts."""

    def __init__(self, encoder):
        super().__init__(encoder, 10**9)


def test_verification_takes_what_naming_has_embedded(audit, tmp_path, monkeypatch):
    """Where nothing can be kept, all copies are embedded twice, and the rows are the same."""
    spent, rows = [], []
    for name in ("kept", "lost"):
        counting, folder = [], tmp_path / name
        audit(folder, lambda encoder, all=counting: all.append(Counting(encoder)) or all[0])
        spent.append(10**9 - counting[0].left)
        found = read_rows(folder / "verify-0.001" / "rows.jsonl", CertifiedScore)
        rows.append([replace(row, seconds=0.0) for row in found])
        assert not (folder / "embeddings").exists(), "they are large, and nobody else asks"
        monkeypatch.setattr(KeptEmbeddings, "write", lambda *args: None)
    assert spent[0] < spent[1]
    assert len(rows[0]) > 6
    assert rows[0] == rows[1]


def test_goes_on_where_it_was_cut_short(audit, audited, tmp_path):
    """Every time a little later, in whatever stage that is: the same rows and the same page in the end."""
    folder, cuts = tmp_path / "audit", 0
    for allowed in [3, 10, 25, 40, 40, 60, 60, 100, 10_000]:
        try:
            audit(folder, lambda encoder, allowed=allowed: Mortal(encoder, allowed))
        except Killed:
            cuts += 1
    assert cuts >= 5
    assert content(folder, folder) == content(copied(audited, tmp_path / "whole"), audited[0])


def test_what_is_finished_is_not_done_again(audit, audited, tmp_path):
    folder = copied(audited, tmp_path / "audit")
    encoders = []

    def counting(encoder):
        encoders.append(Counting(encoder))
        return encoders[-1]

    (folder / PAGE).unlink()
    config = (folder / "config.yaml").read_text().replace(str(audited[0]), str(folder))
    (folder / "config.yaml").write_text(config)
    audit(folder, counting)
    assert encoders[0].left == 10**9
    assert (folder / PAGE).is_file()


def test_refuses_a_folder_of_an_audit_with_other_settings(audit, audited):
    with pytest.raises(ValueError, match="other settings: minutes is 500.0 there, got 1.0"):
        audit(audited[0], minutes=1.0)


def test_refuses_recordings_that_changed_since_it_began(audited, voices, checkpoint, tmp_path):
    """Whatever is done by then: stages that are finished, and those to come, are about the same recordings."""
    encoder, changed = load_encoder(str(checkpoint)), shutil.copytree(voices, tmp_path / "voices")
    data = SpeakerDataModule(SpeakerFolders(str(changed)), **DATA)
    begun = data.tested("test")[0].path
    samples, rate = soundfile.read(begun)
    soundfile.write(begun, samples / 2, rate)
    for done in (len(STAGES) + 1, 3):
        folder = copied(audited, tmp_path / f"{done} done")
        for name in [*STAGES, "plan"][: len(STAGES) + 1 - done]:
            (folder / FINISHED / name).unlink()
            shutil.rmtree(folder / name, ignore_errors=True)
        with pytest.raises(ValueError, match=f"{done} done was made with other data: 1 changed: .* other audio"):
            audit_encoder(encoder, data, AuditSettings(str(folder), **TINY), Provenance("the tiny one"))


def test_takes_fewer_utterances_where_time_is_short(audit, tmp_path):
    plan = audit(tmp_path, minutes=1e-6, alpha=0.01)
    assert plan["recommended"]["num_utterances"] == 4
    rows = read_rows(tmp_path / "fgsm" / "rows.jsonl", AttackRow)
    assert len(rows) == 4
    assert len({row.speaker for row in rows}) == 3
    smoothed = ("certify-0.001", "verify-0.001", "outside-0.001")
    assert {read_config(tmp_path / name)["alpha"] for name in smoothed} == {0.01}, "one system, one alpha"


def test_an_encoder_of_which_nothing_can_be_certified_is_audited_all_the_same(audit, tmp_path):
    plan = audit(tmp_path, sigmas=[1.0])
    assert plan["recommended"]["hopeless"]
    assert not (tmp_path / "inside-1").exists(), "there are no radii to attack inside"
    assert "Nothing was proved" in (tmp_path / PAGE).read_text()


def test_bad_data_are_refused_before_anything_slow(voices, checkpoint, tmp_path):
    bad = tmp_path / "data"
    shutil.copytree(voices, bad)
    (bad / "speaker0" / "0.wav").write_bytes(b"")
    encoder, settings = load_encoder(str(checkpoint)), AuditSettings(str(tmp_path / "audit"), **TINY)
    data = SpeakerDataModule(SpeakerFolders(str(bad)), **DATA)
    with pytest.raises(ValueError, match=r"(?s)without leaks.*0.wav"):
        audit_encoder(encoder, data, settings)
    assert not (tmp_path / "audit" / "plan").exists()
    assert not (tmp_path / "audit" / "config.yaml").exists(), "or other data and settings could not begin there"
    one = SpeakerDataModule(SpeakerFolders(str(voices)), **DATA | {"num_test_speakers": 1})
    with pytest.raises(ValueError, match="2 or more tested speakers, for verification, got 1; .*num_test_speakers"):
        audit_encoder(encoder, one, settings)


@pytest.mark.slow
def test_the_cost_that_is_planned_for_is_near_what_is_spent(audit, tmp_path):
    """In rows that pass through the encoder; a gradient counts as three, of which one passes here."""
    spent = []

    class Spending(torch.nn.Module):
        def __init__(self, encoder):
            super().__init__()
            self.encoder, self.dim = encoder, encoder.dim

        def forward(self, waveform):
            spent.append(len(waveform) * (3 if torch.is_grad_enabled() and waveform.requires_grad else 1))
            return self.encoder(waveform)

    audit(tmp_path / "audit", Spending, samples=[256], attack_steps=20, smoothed_steps=10, num_noise=4)
    data = SpeakerDataModule(SpeakerFolders("x"), **DATA)
    settings = AuditSettings("x", **TINY | {"samples": [256], "attack_steps": 20, "smoothed_steps": 10, "num_noise": 4})
    system = System(torch.nn.Identity(), data, settings, Provenance("the tiny one"))
    planned = 6 * forwards(system, 1, 256, TINY["batch_size"])
    assert 0.4 * planned < sum(spent) < 2.5 * planned


def test_certificates_cost_whole_batches():
    settings = AuditSettings("x", **TINY | {"num_select": 8})
    system = System(torch.nn.Identity(), SpeakerDataModule(SpeakerFolders("x"), **DATA), settings, Provenance("it"))
    compared = 100 - 1  # a batch of what is kept for verification
    assert forwards(system, 2, 32, 100) - forwards(system, 2, 32, 1) == 2 * (200 - 8 - 32 + compared)


def test_the_config_of_a_stage_repeats_it(audited):
    folder, _ = audited
    config = read_config(folder / "certify-0.001")
    assert (config["sigma"], config["num_estimate"], config["rules"]) == (0.001, 32, ["vote", "distribution"])
    summary = json.loads((folder / "certify-0.001" / "summary.json").read_text())
    assert (
        summary["command"] == f"voxcert certify --config {folder}/certify-0.001/config.yaml --output_dir runs/repeated "
        "--embeddings null"
    )


def test_commands_of_a_folder_with_blanks_can_be_pasted(tmp_path):
    system = System(None, None, AuditSettings(str(tmp_path / "my audit")), Provenance())
    command = system.made(system.folder / "fgsm", "attack").command
    assert shlex.split(command)[2:4] == ["--config", f"{tmp_path}/my audit/fgsm/config.yaml"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"attack_steps": 0}, "attack_steps must be at least 1, got 0"),
        ({"minutes": -1}, "minutes must be finite and above 0, got -1"),
        ({"sigmas": []}, "sigmas must be one or more ascending"),
    ],
)
def test_settings_are_checked(changes, message):
    with pytest.raises(ValueError, match=message):
        AuditSettings("x", **changes)
