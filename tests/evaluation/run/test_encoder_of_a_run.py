"""A run is about its encoder: nobody need name it, and rows of another one are never continued."""

from dataclasses import asdict
from types import SimpleNamespace

import pytest
from toy import LinearEncoder, ToyData

from voxcert.attacks import pgd
from voxcert.evaluation.attack import AttackSettings, attack_speakers
from voxcert.evaluation.certification import CertificationSettings, certify_speakers
from voxcert.evaluation.defence import Defence, DefenceSettings, compare_defences
from voxcert.evaluation.planning import PlanSettings, plan_certification
from voxcert.evaluation.run.job import UNKNOWN, Provenance, started
from voxcert.evaluation.verification import verify_speakers
from voxcert.purifiers import MeanFilter

TIME = 2000  # samples; shorter recordings are not heard by all jobs
SAMPLES = {"num_select": 4, "batch_size": 4, "accelerator": "cpu"}


def certify(encoder, data, folder):
    certify_speakers(encoder, data, CertificationSettings(folder, 0.05, num_estimate=20, **SAMPLES))


def verify(encoder, data, folder):
    settings = CertificationSettings(folder, 0.05, task="verification", num_estimate=20, **SAMPLES)
    verify_speakers(encoder, data, settings)


def plan(encoder, data, folder):
    pilot = {"sigmas": [0.05], "samples": [32], "num_utterances": 2, "num_pilot": 8}
    plan_certification(encoder, data, PlanSettings(folder, **pilot, **SAMPLES))


def attack(encoder, data, folder):
    attack_speakers(encoder, data, pgd(epsilon=0.1, steps=1), AttackSettings(folder, targeted=False, accelerator="cpu"))


def defend(encoder, data, folder):
    settings = DefenceSettings(folder, adaptive=False, accelerator="cpu")
    compare_defences(encoder, data, [Defence("mean", MeanFilter(5))], {"l2": pgd(epsilon=0.1, norm="l2")}, settings)


@pytest.fixture
def others():
    """Two encoders of one class, of which only the weights tell which one it is."""
    first, second = LinearEncoder(TIME).eval(), LinearEncoder(TIME).eval()
    second.weight += 0.1
    return first, second


@pytest.mark.parametrize("job", [certify, verify, plan, attack, defend])
def test_no_job_goes_on_with_another_encoder(job, others, tmp_path):
    first, second = others
    job(first, ToyData(TIME), str(tmp_path))
    rows = (tmp_path / "rows.jsonl").read_bytes()
    with pytest.raises(
        ValueError, match=r"other settings: checkpoint_hash is '[0-9a-f]{16}' there, got '[0-9a-f]{16}'"
    ):
        job(second, ToyData(TIME), str(tmp_path))
    job(LinearEncoder(TIME).eval(), ToyData(TIME), str(tmp_path))  # the same one, built again
    assert (tmp_path / "rows.jsonl").read_bytes() == rows


def test_an_encoder_keeps_the_name_that_it_is_given(others):
    first, second = others
    assert Provenance("abc").of(first) == Provenance("abc")
    assert UNKNOWN.of(first) == UNKNOWN.of(LinearEncoder(TIME)) != UNKNOWN.of(second)


def test_a_config_says_first_what_encoder_and_data_were_made_of():
    settings = CertificationSettings("run", sigma=0.25)
    config = Provenance("abc", {"checkpoint": "mine", "data": {"seed": 1}}).config(settings)
    assert list(config) == ["checkpoint", "data", "checkpoint_hash", *asdict(settings)]
    assert (config["checkpoint"], config["checkpoint_hash"], config["sigma"]) == ("mine", "abc", 0.25)


def test_a_function_is_no_encoder_of_a_job(tmp_path):
    with pytest.raises(ValueError, match="encoder must be a torch.nn.Module .*, got <function"):
        certify(lambda waveform: waveform, ToyData(TIME), str(tmp_path))


def test_processes_with_other_weights_than_the_first_stop(tmp_path, monkeypatch):
    """As of an encoder with random weights that every process draws for itself."""
    fabric = SimpleNamespace(broadcast=lambda mine: "that of the first", is_global_zero=False)
    monkeypatch.setattr("voxcert.evaluation.run.job.launch", lambda *args: fabric)
    with (
        pytest.raises(
            ValueError, match="one and the same in all processes, got that of the first in the first and mine"
        ),
        started(tmp_path, {"checkpoint_hash": "mine"}, None, "cpu"),
    ):
        pytest.fail("it began")
    with started(tmp_path, {"checkpoint_hash": "that of the first"}, None, "cpu"):
        pass
