import json
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml
from attacked import distances, rows_of

from voxcert.attacks import CrossEntropy, attack, bim, carlini_wagner, fgsm, nes, pgd, universal
from voxcert.data.audio import load
from voxcert.encoders.base import enroll
from voxcert.evaluation.attack import job
from voxcert.evaluation.attack.comparison import attacked_claims
from voxcert.evaluation.attack.job import attack_speakers
from voxcert.evaluation.attack.robust_accuracy import breaking_norms, robust_accuracy
from voxcert.evaluation.attack.settings import AttackSettings
from voxcert.evaluation.certification.folder import read_prototypes, read_run
from voxcert.evaluation.certification.job import certify_speakers
from voxcert.evaluation.certification.settings import CertificationSettings
from voxcert.evaluation.run.folder import ROWS, read_summary
from voxcert.evaluation.run.job import Provenance
from voxcert.evaluation.run.speakers import enrolled_only
from voxcert.evaluation.verification import verify_speakers
from voxcert.smoothing import CertifiedScore

PGD = pgd(epsilon=1.0, steps=5)


@pytest.fixture
def run(toy, tmp_path):
    """A function that attacks the toy and returns the rows; the folder is the first argument."""

    def attacked(name="run", attack=PGD, data=None, **changes):
        settings = AttackSettings(str(tmp_path / name), **{"accelerator": "cpu"} | changes)
        attack_speakers(toy[0], data or toy[1], attack, settings, Provenance("toy"))
        return rows_of(tmp_path / name)

    return attacked


def timeless(rows):
    return [replace(row, seconds=0.0, file=None) for row in rows]


def test_robust_accuracy_of_a_linear_system_is_its_distances(toy, tmp_path):
    # Two speakers and scores that are linear in the waveform: PGD cannot follow the gradient to a farther boundary.
    encoder, data = toy
    encoder.forward = lambda waveform: waveform @ encoder.weight
    recognizer = enrolled_only(enroll(encoder, data.enrollment_dataloader("test")), [], ["a", "b"], seed=0)
    exact = distances(encoder, recognizer, [item for item in data.items("test") if item["speaker"] in "ab"])
    radii = np.unique([factor * distance for distance in exact.values() for factor in (0.999, 1.001)]).tolist()
    settings = AttackSettings(str(tmp_path), targeted=False, enrolled=["a", "b"], radii=radii, accelerator="cpu")
    attack_speakers(encoder, data, pgd(epsilon=1.0, steps=10, random_start=False), settings)
    rows = rows_of(tmp_path)
    assert len(rows) == 6 * len(radii)
    expected = [sum(distance > radius for distance in exact.values()) / 6 for radius in radii]
    np.testing.assert_allclose(robust_accuracy(rows, radii), expected)
    found = breaking_norms(rows)
    for utterance, distance in exact.items():
        assert distance <= found[utterance] <= 1.002 * distance, utterance


def test_smallest_perturbations_need_no_radii(toy, run):
    encoder, data = toy
    exact = distances(encoder, enroll(encoder, data.enrollment_dataloader("test")), data.items("test")[:-1])
    rows = run(attack=carlini_wagner(steps=100, search_steps=6, initial_const=0.1, lr=1e-2), targeted=False)
    found = breaking_norms(rows)
    for utterance, distance in exact.items():
        assert distance <= found[utterance] < 1.15 * distance, utterance


def test_rows_say_what_was_attacked_and_what_came_of_it(toy, run):
    rows = run(attack=fgsm(epsilon=0.05), seed=3)
    waveforms = {item["utterance"]: item["waveform"] for item in toy[1].items("test")[:-1]}
    assert [row.utterance for row in rows] == [item["utterance"] for item in toy[1].items("test")]
    *measured, failed = rows
    for row in measured:
        assert row.failed is None
        assert row.expected == row.speaker != row.target
        assert row.success == (row.adversarial == row.target)
        assert row.success_before == (row.clean == row.target)
        assert row.linf == pytest.approx(0.05, rel=1e-4)
        assert row.l2 == pytest.approx(0.05 * 200**0.5, rel=1e-4)
        assert row.snr_db == pytest.approx(20 * np.log10(float(waveforms[row.utterance].norm()) / row.l2), abs=1e-3)
        assert row.seconds > 0
        assert (row.attack, row.attack_settings["epsilon"], row.attack_settings["norm"]) == ("fgsm", 0.05, "linf")
        assert (row.seed, row.encoder, row.scenario, row.sigma, row.num_eval) == (3, "toy", "csi", None, 0)
    assert failed.failed == "d9.wav: empty: the file has 0 bytes"
    assert not failed.success


@pytest.mark.parametrize("attack", [fgsm(epsilon=0.05), bim(epsilon=0.05), pgd(epsilon=0.05, steps=5, restarts=2)])
@pytest.mark.parametrize("smoothed", [{}, {"sigma": 0.05, "num_noise": 3, "num_eval": 4}])
def test_rows_carry_the_passes_of_the_attack_alone(run, tmp_path, attack, smoothed):
    *measured, failed = run(attack=attack, utterances_per_batch=5, **smoothed)
    settings, draws = measured[0].attack_settings, smoothed.get("num_noise", 1)
    steps, restarts = settings.get("steps", 1), settings.get("restarts", 1)
    judged = restarts if restarts > 1 else 0
    for row in measured:
        assert row.forwards == draws * (steps * restarts + judged)
        assert row.backwards == draws * steps * restarts
    assert (failed.forwards, failed.backwards) == (None, None)
    (entry,) = read_summary(tmp_path / "run")["attacks"]
    assert (entry["forwards"], entry["backwards"]) == (measured[0].forwards, measured[0].backwards)


def test_black_box_attacks_have_no_backwards(run):
    rows = run(attack=nes(epsilon=1e-6, num_pairs=5, max_queries=33), utterances_per_batch=4)
    assert {(row.forwards, row.backwards) for row in rows[:-1]} == {(33, 0)}


def test_summary_holds_what_the_rows_say(run, tmp_path):
    rows = run(targeted=False, radii=[0.2, 0.1])
    summary = read_summary(tmp_path / "run")
    assert [entry["radius"] for entry in summary["attacks"]] == [0.2, 0.1]
    assert [entry["radius"] for entry in summary["robust_accuracy"]] == [0.1, 0.2]
    assert summary["attacks"][0]["success_rate"] == sum(row.success for row in rows[:13]) / 13
    assert (summary["num_speakers"], summary["threshold"], summary["checkpoint_hash"]) == (4, None, "toy")
    assert summary["settings"]["attack.class_path"] == "voxcert.attacks.gradient.pgd"
    assert summary["settings"]["attack.init_args.steps"] == 5
    assert (tmp_path / "run" / "robust_accuracy.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(("kept", "done"), [(3, 0), (8, 8), (20, 17)])
def test_a_run_cut_anywhere_continues_to_the_same_rows(run, tmp_path, kept, done):
    settings = {"attack": pgd(epsilon=1.0, steps=3), "radii": [0.1, 0.3], "utterances_per_batch": 4, "sigma": 0.05}
    settings |= {"num_noise": 2, "num_eval": 4}
    whole = run("whole", **settings)
    run("cut", **settings)
    path = tmp_path / "cut" / ROWS
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:kept]) + (lines[kept][:40] if kept < len(lines) else b""))
    assert timeless(run("cut", **settings)) == timeless(whole)
    assert path.read_bytes().splitlines(keepends=True)[:done] == lines[:done], "batches that were done are kept"


def test_a_run_that_goes_on_keeps_its_threshold(run, tmp_path, monkeypatch):
    """With other threads, scores have other last digits, and claims at two thresholds cannot be put together."""
    settings = {"attack": fgsm(epsilon=0.01), "scenario": "sv", "utterances_per_batch": 4}
    (threshold,) = {row.threshold for row in run(**settings)}
    lines = (tmp_path / "run" / ROWS).read_text().splitlines(keepends=True)
    (tmp_path / "run" / ROWS).write_text("".join(lines[:4]))
    exact = job.balanced_threshold
    monkeypatch.setattr(job, "balanced_threshold", lambda *about: tuple(value + 1e-8 for value in exact(*about)))
    assert {row.threshold for row in run(**settings)} == {threshold}
    assert read_summary(tmp_path / "run")["threshold"] == threshold


def test_a_run_that_goes_on_draws_the_utterances_of_an_undisturbed_one(run, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr("voxcert.evaluation.attack.attacker.perturbation_figure", lambda *signals: None)
    monkeypatch.setattr("voxcert.evaluation.attack.attacker.save", lambda figure, path: drawn.append(path.stem))
    settings = {"plot": 3, "utterances_per_batch": 2, "attack": fgsm(epsilon=0.01)}
    run(**settings)
    lines = (tmp_path / "run" / ROWS).read_text().splitlines(keepends=True)
    (tmp_path / "run" / ROWS).write_text("".join(lines[:2]))
    run(**settings)
    assert drawn == ["a0", "a1", "a2", "a2"], "the first three, and what was not done of them once more"


def test_an_attack_on_one_utterance_does_not_depend_on_the_others(toy, run):
    alone = {row.utterance: row for row in timeless(run("alone", utterances_per_batch=1))}

    class Part:
        def __init__(self, data):
            self.enrollment_dataloader, self.plan, self.data = data.enrollment_dataloader, data.plan, data

        def tested(self, stage):
            return self.data.tested(stage)[4:7]

        def items(self, stage):
            return self.data.items(stage)[4:7]

    for row in timeless(run("part", utterances_per_batch=1, data=Part(toy[1]))):
        assert row == alone[row.utterance]


def test_other_settings_in_the_folder_are_named(run):
    run()
    with pytest.raises(ValueError, match="attack.init_args.steps is 5 there, got 6"):
        run(attack=pgd(epsilon=1.0, steps=6))
    with pytest.raises(ValueError, match="seed is 0 there, got 1"):
        run(seed=1)
    with pytest.raises(ValueError, match="utterances_per_batch is 8 there, got 4"):
        run(utterances_per_batch=4)
    assert len(run(batch_size=7)) == 13, "copies per forward change nothing but the last digit"


def test_kept_files_are_what_is_measured(toy, run, tmp_path):
    free = run("free", attack=bim(epsilon=0.02), targeted=False)
    rows = run("kept", attack=bim(epsilon=0.02), targeted=False, keep="flac")
    encoder, data = toy
    recognizer = enroll(encoder, data.enrollment_dataloader("test"))
    for item, row, other in zip(data.items("test")[:-1], rows[:-1], free[:-1], strict=True):
        waveform = load(tmp_path / "kept" / row.file, min_seconds=0)
        delta = waveform - item["waveform"]
        assert torch.equal(waveform, (waveform * 2**15).round() / 2**15)
        assert row.l2 == pytest.approx(float(delta.norm()), rel=1e-5)
        assert row.linf == pytest.approx(float(delta.abs().max()), rel=1e-5)
        assert row.linf != other.linf
        assert row.linf == pytest.approx(other.linf, abs=1.01 * 2**-16)
        assert row.adversarial == recognizer.speakers[int(recognizer(waveform[None]).argmax())]
    assert rows[-1].file is None


def test_an_open_set_is_attacked_at_its_equal_error_rate(run, tmp_path):
    rows = run(attack=bim(epsilon=0.1), scenario="osi", enrolled=["a", "b", "c"])
    summary = read_summary(tmp_path / "run")
    assert {row.speaker for row in rows} == {"d"}
    assert summary["equal_error_rate"] <= 0.5
    assert all(row.threshold == summary["threshold"] for row in rows)
    assert all(row.success and row.adversarial == row.target for row in rows[:-1])
    assert read_prototypes(tmp_path / "run")[1] == ["a", "b", "c"]
    with pytest.raises(ValueError, match="scenario osi needs test utterances of speakers who are not enrolled"):
        run("none", scenario="osi")


def test_claims_are_verified_at_a_given_threshold(run, tmp_path):
    genuine = run(attack=bim(epsilon=0.1), scenario="sv", targeted=False, threshold=0.8)
    assert all(row.clean == row.speaker and row.adversarial is None and row.success for row in genuine[:-1])
    impostors = run("sv", attack=bim(epsilon=0.2), scenario="sv", target="a", threshold=0.8)
    assert {row.speaker for row in impostors} == set("bcd")
    assert all(row.clean is None and row.adversarial == "a" for row in impostors[:-1])
    assert read_summary(tmp_path / "run")["equal_error_rate"] is None


def test_the_smoothed_system_is_attacked_and_measured_under_noise(run):
    smoothed = {"sigma": 0.05, "num_noise": 4, "num_eval": 64, "targeted": False}  # few draws: it may abstain
    for decision in ("mean", "vote"):
        rows = run(decision, attack=pgd(epsilon=1.0, steps=10), radii=[0.05, 2.0], decision=decision, **smoothed)
        assert {(row.sigma, row.decision, row.num_noise, row.num_eval) for row in rows} == {(0.05, decision, 4, 64)}
        assert all(row.correct_before for row in rows if row.failed is None)
        near, far = ([row for row in rows if row.radius == radius and row.failed is None] for radius in (0.05, 2.0))
        assert not any(row.turned for row in near)
        assert not any(row.correct for row in far), "an abstention is no right answer either"
        assert any(row.success for row in far)


def test_a_smoothed_system_is_enrolled_under_its_noise(toy, run, tmp_path):
    smoothed = {"sigma": 0.05, "num_noise": 2, "num_eval": 8, "attack": fgsm(epsilon=0.01)}
    run("noisy", **smoothed, enroll_noise=3)
    run("clean", **smoothed, enroll_noise=0)
    encoder, data = toy
    for name, noise in (("noisy", {"sigma": 0.05, "num_noise": 3}), ("clean", {})):
        expected = enroll(encoder, data.enrollment_dataloader("test"), **noise).prototypes
        assert torch.equal(read_prototypes(tmp_path / name)[0], expected)


def test_certified_speakers_are_those_attacked(toy, run, tmp_path):
    encoder, data = toy
    settings = CertificationSettings(
        str(tmp_path / "certified"), 0.05, num_estimate=100, enroll_noise=3, accelerator="cpu"
    )
    certify_speakers(encoder, data, settings, Provenance("toy"))
    run(certified=str(tmp_path / "certified"))
    assert torch.equal(read_prototypes(tmp_path / "run")[0], read_prototypes(tmp_path / "certified")[0])
    with pytest.raises(ValueError, match="got 'toy' certified in .* and 'other' attacked"):
        attack_speakers(
            encoder,
            data,
            PGD,
            AttackSettings(str(tmp_path / "other"), certified=str(tmp_path / "certified"), accelerator="cpu"),
            Provenance("other"),
        )


@pytest.mark.parametrize(("decision", "rule"), [("vote", "vote"), ("mean", "distribution")])
def test_attacks_within_certified_radii_have_these_as_budgets(toy, run, tmp_path, decision, rule):
    encoder, data = toy
    folder = tmp_path / "certified"
    certify_speakers(encoder, data, CertificationSettings(str(folder), 0.05, accelerator="cpu"), Provenance("toy"))
    certified = {row.utterance: row.radius for row in read_run(folder) if row.rule == rule and row.radius > 0}
    settings = {"certified": str(folder), "within": 0.9, "sigma": 0.05, "decision": decision, "targeted": False}
    rows = run(attack=pgd(epsilon=1.0, steps=40), num_noise=8, **settings)
    assert {row.utterance: row.radius for row in rows} == {u: 0.9 * radius for u, radius in certified.items()}
    for row in rows:
        assert row.l2 <= row.radius * (1 + 1e-4)
        assert row.correct_before
        assert not row.turned
    assert max(row.l2 / row.radius for row in rows) == pytest.approx(1, rel=1e-3), "the whole budget may be spent"
    (entry,) = read_summary(tmp_path / "run")["attacks"]
    assert (entry["within"], entry["num_utterances"]) == (0.9, len(certified))


def test_steps_that_do_not_lead_to_certified_radii_are_refused(toy, run, tmp_path):
    encoder, data = toy
    folder = str(tmp_path / "certified")
    certify_speakers(encoder, data, CertificationSettings(folder, 0.05, accelerator="cpu"), Provenance("toy"))
    largest = max(row.radius for row in read_run(folder) if row.rule == "distribution")
    with pytest.raises(ValueError, match=rf"steps \* attack.step_size must be at least .*, {0.9 * largest:g}, got 40"):
        run(attack=pgd(step_size=1e-4), certified=folder, within=0.9, sigma=0.05, targeted=False)


def test_radii_at_another_sigma_or_of_other_crops_are_refused(toy, run, tmp_path):
    encoder, data = toy
    folder = str(tmp_path / "certified")
    certify_speakers(encoder, data, CertificationSettings(folder, 0.05, accelerator="cpu"), Provenance("toy"))
    with pytest.raises(ValueError, match="sigma must be that of the certificates in .*, 0.05, got 0.1"):
        run("louder", certified=folder, within=0.9, sigma=0.1, targeted=False)
    data.tests[0]["waveform"] = data.tests[0]["waveform"].roll(1) / 2
    for settings in ({"within": 0.9, "sigma": 0.05, "num_noise": 1}, {"sigma": None}):
        with pytest.raises(ValueError, match="data must have a0 as it was certified, 200 samples with a norm of"):
            run(str(settings["sigma"]), certified=folder, targeted=False, **settings)


def test_claims_are_attacked_as_they_were_certified(toy, run, tmp_path):
    """The seed of the attack draws targets and noise, and enrols nobody anew."""
    encoder, data = toy
    about = {"task": "verification", "num_estimate": 50, "enroll_noise": 2, "radii": [0.1], "accelerator": "cpu"}
    settings = CertificationSettings(str(tmp_path / "trials"), 0.05, **about)
    verify_speakers(encoder, data, settings, Provenance("toy"))
    claims = {"scenario": "sv", "sigma": 0.05, "num_noise": 1, "num_eval": 8, "threshold": 0.5, "radii": [0.1]}
    rows = run("own", certified=settings.output_dir, seed=3, enrolled=["a", "b"], **claims)
    run("anew", seed=3, **claims)
    kept, names = read_prototypes(tmp_path / "trials")
    own = read_prototypes(tmp_path / "own")
    assert (own[1], {row.target for row in rows}) == (["a", "b"], {"a", "b"})
    assert torch.equal(own[0], kept[[names.index("a"), names.index("b")]])
    trials = read_run(tmp_path / "trials", CertifiedScore)
    found, others = attacked_claims([tmp_path / "own", tmp_path / "anew"], tmp_path / "trials", trials[0])
    assert (found, others) == (rows, len(rows_of(tmp_path / "anew")))
    assert run("own", certified=settings.output_dir, seed=3, enrolled=["a", "b"], **claims) == rows


def test_radii_of_a_rule_that_was_not_certified_are_missed(toy, run, tmp_path):
    encoder, data = toy
    settings = CertificationSettings(str(tmp_path / "votes"), 0.05, rules=["vote"], accelerator="cpu")
    certify_speakers(encoder, data, settings, Provenance("toy"))
    with pytest.raises(ValueError, match="certified must have a sound rule for the decision mean"):
        run(certified=settings.output_dir, within=0.5, sigma=0.05)


def test_a_waveform_out_of_range_is_named(toy, run):
    toy[1].tests[5]["waveform"] = toy[1].tests[5]["waveform"] + 1
    with pytest.raises(ValueError, match=r"waveform must lie in \[-1, 1\], got a peak of 1."):
        run()


@attack
def broken(recognizer, waveform, labels, *, value, objective, targeted, generator):
    """Spoils the second waveform of a batch."""
    waveform[1] = float(value)
    return waveform


def test_what_an_attack_returns_is_checked(run):
    with pytest.raises(
        ValueError, match=r"attack must return waveforms of shape .* in \[-1, 1\].* a peak of 2 from broken"
    ):
        run("loud", attack=broken(value=2.0))
    rows = run("nan", attack=broken(value="nan"), keep="wav")
    assert [row.failed for row in rows[:3]] == [None, "the attack's waveform is not finite", None]
    assert json.loads(rows[1].to_json())["l2"] == 0
    assert rows[1].correct_before, "it was heard before the attack failed"
    assert not rows[-1].correct_before, "it could not be read"
    assert rows[0].success == rows[0].success_before


@attack
def loud(recognizer, waveform, labels, *, objective, targeted, generator):
    """Where an encoder may break."""
    return torch.ones_like(waveform)


@pytest.mark.parametrize("sigma", [None, 0.01])
@pytest.mark.parametrize("scenario", ["csi", "osi", "sv"])
def test_scores_that_are_no_numbers_are_a_failure_and_end_no_run(toy, run, scenario, sigma):
    """The best of such scores would be the first speaker's, and JSON has no NaN."""
    encoder, exact = toy[0], toy[0].forward
    encoder.forward = lambda waveform: exact(waveform).where(waveform.amax(dim=-1, keepdim=True) < 0.9, torch.nan)
    enrolled = {"enrolled": ["a", "b", "c"]} if scenario == "osi" else {}
    rows = run(attack=loud, scenario=scenario, sigma=sigma, num_eval=8, **enrolled)
    for row in rows:
        assert not row.success
        assert row.adversarial is None
        heard = "empty" not in (row.failed or "") and not row.abstained_before
        assert row.correct_before is (heard and row.clean == row.expected)
        if "empty" not in (row.failed or ""):
            abstains = scenario == "csi" and sigma is not None
            assert (row.abstained, row.failed) == (abstains, None if abstains else "the system's scores are not finite")


def test_an_utterance_without_a_score_was_not_rightly_rejected(toy, run):
    encoder, exact, strange = toy[0], toy[0].forward, toy[1].tests[-2]
    encoder.forward = lambda batch: exact(batch).where(
        (batch != strange["waveform"]).any(dim=-1, keepdim=True), torch.nan
    )
    found = run(attack=bim(epsilon=0.05), scenario="osi", enrolled=["a", "b", "c"], threshold=0.5)
    (row,) = (row for row in found if row.utterance == strange["utterance"])
    assert (row.failed, row.clean, row.expected) == ("the system's scores are not finite", None, None)
    assert not row.correct_before


def test_a_run_goes_on_with_the_very_sound_that_it_began_with(toy, tmp_path):
    """Its name in the configuration is a path, the same for another one."""
    plain = {"class_path": "voxcert.attacks.load_universal", "init_args": {"path": "sound.safetensors"}}
    settings = AttackSettings(str(tmp_path), targeted=False, accelerator="cpu")
    for loudness in (0.1, 0.1, 0.2):
        other = pytest.raises(ValueError, match=r"attack_hash is '[0-9a-f]{16}' there, got '[0-9a-f]{16}'")
        with other if loudness == 0.2 else nullcontext():
            sound = universal(perturbation=torch.full((9,), loudness))
            attack_speakers(*toy, sound, settings, Provenance("toy", {"attack": plain}))
    config = yaml.safe_load((tmp_path / "config.yaml").read_text())
    assert config["attack"] == plain, "what the command line reads again"
    again = replace(settings, attack_hash=config["attack_hash"])
    with pytest.raises(ValueError, match=f"attack_hash must be [0-9a-f]+, .* got {config['attack_hash']}"):
        attack_speakers(*toy, sound, again, Provenance("toy", {"attack": plain}))


def test_an_objective_of_the_attack_is_used(run):
    rows = run(attack=bim(epsilon=0.05, objective=CrossEntropy(scale=10.0)))
    assert rows[0].attack_settings["objective"] == {"class": "CrossEntropy", "threshold": None, "scale": 10.0}
    assert all(row.success for row in rows[:-1])
