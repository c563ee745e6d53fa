import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from toy import LinearEncoder, ToyData

from voxcert.evaluation.certification import CertificationSettings, certify_speakers
from voxcert.evaluation.planning import PlanSettings, plan_certification
from voxcert.evaluation.planning.job import pilot_stage, planned_stage
from voxcert.evaluation.planning.recommendation import estimates, recommend
from voxcert.evaluation.planning.row import PilotRow
from voxcert.evaluation.planning.tables import plan_note, plan_statement, plan_table
from voxcert.evaluation.run.folder import read_config
from voxcert.rows import read_rows, replace_rows
from voxcert.smoothing.sampler import NoisySampler


def settings(folder, **changes):
    values = {"sigmas": [0.02, 0.05], "samples": [32, 128, 512], "num_utterances": 5, "num_pilot": 64}
    values |= {"num_select": 8, "batch_size": 8, "accelerator": "cpu", "budgets": [0.01, 0.05]}
    return PlanSettings(str(folder), **values | changes)


def test_estimates_are_near_what_certificates_then_say(toy, tmp_path):
    encoder, data = toy
    plan = plan_certification(encoder, data, settings(tmp_path / "plan", num_pilot=256, num_utterances=13))
    for sigma in (0.02, 0.05):
        own = {"sigma": sigma, "num_select": 8, "num_estimate": 512, "batch_size": 8, "rules": ["vote", "distribution"]}
        own |= {"enroll_noise": 2, "accelerator": "cpu"}
        summary = certify_speakers(encoder, data, CertificationSettings(str(tmp_path / f"{sigma}"), **own))
        for rule in ("vote", "distribution"):
            entry = next(
                e for e in plan["estimates"] if (e["sigma"], e["rule"], e["num_estimate"]) == (sigma, rule, 512)
            )
            certified = summary["rules"][rule]["acr"] * 13 / 12  # the pilot leaves out the one that cannot be read
            assert entry["acr"] == pytest.approx(certified, rel=0.25)


def test_a_killed_pilot_goes_on_and_gives_the_same_estimates(toy, tmp_path):
    encoder, data = toy
    whole = plan_certification(encoder, data, settings(tmp_path))
    rows = (tmp_path / "rows.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "rows.jsonl").write_text("".join(rows[:7]) + rows[7][:20])
    again = plan_certification(encoder, data, settings(tmp_path))
    timed = ("seconds_per_forward", "estimates", "recommended")
    assert {n: v for n, v in again.items() if n not in timed} == {n: v for n, v in whole.items() if n not in timed}
    for one, other in zip(again["estimates"], whole["estimates"], strict=True):
        assert one | {"minutes": 0} == other | {"minutes": 0}
    assert json.loads((tmp_path / "summary.json").read_text()) == again
    with pytest.raises(ValueError, match="other settings: num_pilot is 64 there, got 32"):
        plan_certification(encoder, data, settings(tmp_path, num_pilot=32))


def test_a_finished_pilot_is_asked_for_other_minutes_and_budgets(toy, tmp_path):
    encoder, data = toy
    plan_certification(encoder, data, settings(tmp_path, minutes=1000))
    rows = (tmp_path / "rows.jsonl").read_bytes()
    plan = plan_certification(encoder, data, settings(tmp_path, minutes=1e-9, budgets=[0.02]))
    assert (tmp_path / "rows.jsonl").read_bytes() == rows, "no copy was drawn for it"
    fresh = plan_certification(encoder, data, settings(tmp_path / "new", minutes=1e-9, budgets=[0.02]))
    for one, other in zip(plan["estimates"], fresh["estimates"], strict=True):
        assert one | {"minutes": 0} == other | {"minutes": 0}
    assert (plan["settings"]["minutes"], plan["settings"]["budgets"]) == (1e-9, [0.02])
    assert read_config(tmp_path)["minutes"] == 1e-9


@pytest.mark.parametrize("left", [0, 2, 20])
def test_minutes_are_of_the_machine_at_hand_wherever_the_pilot_began(toy, tmp_path, left):
    encoder, data = toy
    plan_certification(encoder, data, settings(tmp_path))
    rows = read_rows(tmp_path / "rows.jsonl", PilotRow)
    assert len(rows) == 20
    replace_rows(tmp_path / "rows.jsonl", [replace(row, seconds=1e9) for row in rows[: 20 - left]])
    plan = plan_certification(encoder, data, settings(tmp_path))
    assert plan["seconds_per_forward"] < 1e3, "the old rows say ten million"
    kept = read_rows(tmp_path / "rows.jsonl", PilotRow)
    assert [row.seconds for row in kept[: 20 - left]] == [1e9] * (20 - left), "what is timed again is no new row"
    assert [row.key for row in kept] == [row.key for row in rows]


class Clocked(LinearEncoder):
    """Takes half a millisecond for a row, by a clock of its own."""

    now = 0.0

    def forward(self, waveform):
        """(batch, time) -> (batch, dim)."""
        self.now += 5e-4 * len(waveform)
        return super().forward(waveform)


@pytest.mark.parametrize(
    ("batch_size", "changes"),
    [
        (32, {"num_select": 64, "num_pilot": 128}),
        (80, {"num_select": 16, "num_pilot": 64}),
        (512, {"num_select": 64, "num_pilot": 128}),
        (64, {"num_utterances": 1, "sigmas": [0.02, 0.03, 0.05]}),  # each the first one of its sigma
    ],
)
def test_minutes_are_those_of_the_certification(tmp_path, monkeypatch, batch_size, changes):
    """Neither rows that fill a batch nor the probe of an encoder make copies look slow."""
    encoder, data = Clocked(200).eval(), ToyData()
    monkeypatch.setattr("voxcert.smoothing.certifier.time", SimpleNamespace(perf_counter=lambda: encoder.now))
    own = settings(tmp_path / "plan", batch_size=batch_size, minutes=1000, **changes)
    plan = plan_certification(encoder, data, own)
    assert plan["seconds_per_forward"] == pytest.approx(5e-4)
    assert plan["batch_size"] == batch_size
    for n in (32, 512):
        certified = {"sigma": 0.02, "num_select": own.num_select, "num_estimate": n, "batch_size": batch_size}
        done = CertificationSettings(str(tmp_path / f"{n}"), accelerator="cpu", **certified)
        seconds = certify_speakers(encoder, data, done)["timing"]["seconds"] * 13 / 12  # one cannot be read
        [minutes] = {entry["minutes"] for entry in plan["estimates"] if entry["num_estimate"] == n}
        assert 60 * minutes == pytest.approx(seconds)
    best = plan["recommended"]
    one = next(entry for entry in plan["estimates"] if entry["num_estimate"] == best["num_estimate"])
    assert best["minutes"] == pytest.approx(len(best["sigmas"]) * one["minutes"])


def test_a_batch_that_was_halved_is_the_one_that_is_planned_with(tmp_path, monkeypatch):
    class Small(Clocked):
        def forward(self, waveform):
            if len(waveform) > 64:
                raise torch.OutOfMemoryError
            return super().forward(waveform)

    encoder = Small(200).eval()
    monkeypatch.setattr("voxcert.smoothing.certifier.time", SimpleNamespace(perf_counter=lambda: encoder.now))
    plan = plan_certification(encoder, ToyData(), settings(tmp_path, batch_size=256))
    assert plan["batch_size"] == 64
    assert plan["seconds_per_forward"] == pytest.approx(5e-4)


def test_the_pilot_hears_validation_speakers_where_there_are_some(toy, tmp_path):
    encoder, data = toy
    assert pilot_stage(data) == "val"  # the toy has the same speakers in both stages
    data.tested, tested = lambda stage: tested(stage) if stage == "test" else no_speakers(), data.tested
    assert pilot_stage(data) == "test"
    plan = plan_certification(encoder, data, settings(tmp_path))
    assert "test utterances, for the data have no validation speakers" in plan_note(plan)


def no_speakers(stage="val"):
    raise ValueError(f"stage {stage!r} has no speakers")


def test_data_without_a_test_are_planned_for_as_they_were_heard(toy, tmp_path):
    encoder, data = toy
    assert planned_stage(data) == "test"
    assert "all 13 utterances at one" in plan_note(plan_certification(encoder, data, settings(tmp_path / "both")))
    data.tested, tested = lambda stage: tested(stage) if stage == "val" else no_speakers(stage), data.tested
    assert planned_stage(data) == "val"
    plan = plan_certification(encoder, data, settings(tmp_path / "val", minutes=1000))
    assert (plan["stage"], plan["planned_stage"], plan["num_utterances"]) == ("val", "val", 13)
    assert "all 13 validation utterances (the data have no test speakers) at one" in plan_note(plan)
    assert "none of which is tested" not in plan_note(plan)
    assert "samples for all 13 validation utterances, which" in plan_statement(plan)


def test_data_without_anybody_are_refused_before_the_work(toy, tmp_path):
    encoder, data = toy
    data.tested = no_speakers
    with pytest.raises(ValueError, match="stage 'test' has no speakers"):
        plan_certification(encoder, data, settings(tmp_path / "plan"))
    assert not (tmp_path / "plan" / "rows.jsonl").exists()


def test_the_pilots_noise_is_not_that_of_the_certificates(toy, tmp_path, monkeypatch):
    """Otherwise a sigma that was chosen by it would cost error probability."""
    encoder, data = toy
    drawn = []

    class Remembering(NoisySampler):
        def __init__(self, waveform, sigma, seed, utterance, *others):
            super().__init__(waveform, sigma, seed, utterance, *others)
            drawn.append((seed, utterance))  # what the noise depends on

    monkeypatch.setattr("voxcert.smoothing.certifier.NoisySampler", Remembering)
    plan_certification(encoder, data, settings(tmp_path / "plan"))
    pilot = set(drawn)
    drawn.clear()
    own = {"sigma": 0.05, "num_select": 8, "num_estimate": 64, "batch_size": 8, "accelerator": "cpu"}
    certify_speakers(encoder, data, CertificationSettings(str(tmp_path / "run"), **own))
    assert len(pilot) == 5
    assert len(set(drawn)) == 12
    assert not pilot & set(drawn)


def row(sigma, radii, rule="vote", utterance="u0", **more):
    return PilotRow(utterance, "a", sigma, rule, True, [100, 1000, 10_000], radii, 100, 1.0, **more)


def decided(rows, minutes, utterances=100, **work):
    """The recommendation from made-up pilots; a forward takes 0.01 s, and samples are all that is paid for."""
    own = settings("x", sigmas=sorted({one.sigma for one in rows}), samples=[100, 1000, 10_000], minutes=minutes)
    own = replace(own, num_select=1)
    measured = {"num_utterances": utterances, "seconds_per_forward": 0.01, "batch_size": 1}
    return recommend(estimates(rows, own, measured), own, measured, **work)


def test_takes_as_many_samples_as_fit():
    rows = [row(0.1, [0.1, 0.2, 0.3])]
    assert decided(rows, 20)["num_estimate"] == 1000  # 100 utterances of 1001 forwards: 16.7 minutes
    assert decided(rows, 20)["minutes"] == pytest.approx(100 * 1001 * 0.01 / 60)
    assert decided(rows, 16)["num_estimate"] == 100
    assert decided(rows, 1000)["num_estimate"] == 10_000


def test_takes_no_more_samples_than_are_of_use():
    assert decided([row(0.1, [0.1, 0.29, 0.3])], 1000)["num_estimate"] == 1000


def test_a_pilot_that_saw_no_failure_does_not_end_the_samples(toy, tmp_path):
    """Where copies all agree, the radius stops growing for how few they are, not for the encoder."""
    assert decided([row(0.1, [0.1, 0.29, 0.3], hoped=[0.1, 0.3, 0.31])], 1000)["num_estimate"] == 1000
    rows = [row(0.1, [0.1, 0.29, 0.3], hoped=[0.1, 0.3, 0.4])]
    assert decided(rows, 1000)["num_estimate"] == 10_000
    assert decided(rows, 20)["num_estimate"] == 1000, "what does not fit is no use"
    encoder, data = toy
    wide = {"sigmas": [0.003], "samples": [64, 1000, 2000, 50_000], "minutes": 1e6}
    plan = plan_certification(encoder, data, settings(tmp_path, **wide))  # far inside every speaker's region
    assert plan["recommended"]["num_estimate"] == 50_000
    enough = [entry["num_estimate"] for entry in plan["estimates"] if entry["rule"] == "vote" and entry["enough"]]
    assert enough == [2000, 50_000]
    vote = next(line for line in plan_table(plan).splitlines() if "| vote " in line)
    assert "| at least 2000 " in vote
    assert "more, up to 50000, would hardly give larger radii" in plan_note(plan)
    assert "a larger num_pilot sees further" in plan_note(plan)


def test_samples_that_suffice_are_said_without_reservation(toy, tmp_path):
    encoder, data = toy
    plan = plan_certification(encoder, data, settings(tmp_path, num_pilot=256))
    own = [entry for entry in plan["estimates"] if (entry["sigma"], entry["rule"]) == (0.02, "vote")]
    for first in (0, 1, 2):
        for place, entry in enumerate(own):
            entry["enough"] = entry["surely"] = place >= first
        said = next(line for line in plan_table(plan).splitlines() if line.startswith("| 0.02 ") and "| vote " in line)
        number = own[first]["num_estimate"]
        assert (f"| {number} " in said) == (first < 2), "of the largest one it is not known"
        assert (f"| at least {number} " in said) == (first == 2)
        for entry in own:
            del entry["surely"]  # as in a plan that was kept before this was asked
        assert said in plan_table(plan)


def test_rows_that_are_older_than_the_hoped_radii_are_read(tmp_path):
    old = json.loads(row(0.1, [0.1, 0.2, 0.3]).to_json())
    del old["hoped"]
    assert PilotRow.from_json(json.dumps(old)) == row(0.1, [0.1, 0.2, 0.3])


def test_certifies_fewer_utterances_where_time_is_short():
    found = decided([row(0.1, [0.1, 0.2, 0.3])], minutes=1)
    assert (found["num_estimate"], found["num_utterances"], found["fits"]) == (100, 59, True)
    found = decided([row(0.1, [0.1, 0.2, 0.3])], minutes=0.01)
    assert (found["num_utterances"], found["fits"]) == (4, False)


def test_keeps_the_sigmas_that_are_best_at_something():
    small, middle, large = row(0.1, [0.02] * 3), row(0.2, [0.02] * 3), row(0.3, [0.0] * 3)
    assert decided([small, middle, large], 1000)["sigmas"] == [0.1], "of equals the smallest"
    more = [row(0.2, [0.2] * 3), row(0.2, [0.0] * 3, utterance="u1"), small, row(0.1, [0.02] * 3, utterance="u1")]
    assert decided(more, 1000)["sigmas"] == [0.1, 0.2], "one certifies more at 0.01, the other at 0.05"


def test_says_where_nothing_is_to_be_expected():
    found = decided([row(0.1, [0.0] * 3), row(0.2, [0.0] * 3)], 1000)
    assert found["hopeless"]
    assert (found["sigmas"], found["num_estimate"]) == ([0.1], 100)


def test_other_work_takes_its_share_of_the_time():
    rows = [row(0.1, [0.1, 0.2, 0.3])]
    assert decided(rows, 20, work=lambda sigmas, n, batch_size: 10 * sigmas * n)["num_estimate"] == 100


def test_table_and_words(toy, tmp_path):
    encoder, data = toy
    plan = plan_certification(encoder, data, settings(tmp_path, minutes=1000))
    table, n = plan_table(plan), plan["recommended"]["num_estimate"]
    assert len(table.splitlines()) == 2 + 4  # two sigmas, two rules
    first = next(e for e in plan["estimates"] if e["num_estimate"] == n)
    assert f"| {first['acr']:.3g}" in table
    assert "Estimates, not a guarantee" in plan_note(plan)
    assert f"with {n} samples for all 13 utterances" in plan_statement(plan)
    plan["recommended"] |= {"num_utterances": 5, "fits": False}
    assert "for 5 of 13 utterances" in plan_statement(plan)
    assert plan_statement(plan).endswith("give it more time.")
    plan["recommended"] |= {"hopeless": True}
    assert "Nothing is expected" in plan_statement(plan)


def test_rows_hold_what_the_pilot_saw(toy, tmp_path):
    encoder, data = toy
    plan_certification(encoder, data, settings(tmp_path, num_utterances=13))
    rows = read_rows(tmp_path / "rows.jsonl", PilotRow)
    assert len({row.key for row in rows}) == len(rows) == 13 * 2 * 2
    assert {row.failed for row in rows if row.utterance == "d9"} == {"d9.wav: empty: the file has 0 bytes"}
    assert {row.num_forwards for row in rows if row.failed is None} == {8 + 64}


def test_data_that_nobody_can_hear_are_refused(toy, tmp_path):
    encoder, data = toy
    data.tests = [one for one in data.tests if "error" in one]
    with pytest.raises(ValueError, match="must be audible, got 4 failures: d9.wav: empty"):
        plan_certification(encoder, data, settings(tmp_path))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"minutes": 0}, "minutes must be finite and above 0, got 0"),
        ({"sigmas": [0.1, 0.05]}, "sigmas must be one or more ascending finite numbers above 0"),
        ({"sigmas": [0.1, 1.6]}, "sigmas must be at most 1.5, got .0.1, 1.6."),
        ({"samples": []}, "samples must be one or more ascending"),
        ({"num_pilot": 0}, "num_pilot must be at least 1, got 0"),
        ({"enroll_noise": -1}, "enroll_noise must be at least 0, got -1"),
        ({"precision": "fp8"}, "precision must be one of 32, tf32, bf16, 16, got 'fp8'"),
        ({"alpha": 1.0}, r"alpha must be in \(0, 1\), got 1.0"),
    ],
)
def test_settings_are_checked(changes, message):
    with pytest.raises(ValueError, match=message):
        settings("x", **changes)


class Backwards(torch.nn.Module):
    """Turns speech round."""

    def forward(self, waveform):
        """(batch, time) -> (batch, time)."""
        return waveform.flip(1)


def test_what_goes_before_the_encoder_is_asked_for_at_every_sigma(toy, tmp_path):
    encoder, data = toy
    asked = []
    plain = plan_certification(encoder, data, settings(tmp_path / "plain"))
    twice = plan_certification(
        torch.nn.Sequential(Backwards(), encoder),
        data,
        settings(tmp_path / "twice"),
        before=lambda sigma: asked.append(sigma) or Backwards(),
    )
    once = plan_certification(encoder, data, settings(tmp_path / "once"), before=lambda sigma: Backwards())
    assert set(asked) == {0.02, 0.05}
    radii = [[entry["acr"] for entry in plan["estimates"]] for plan in (plain, twice, once)]
    assert radii[0] == radii[1] != radii[2]
