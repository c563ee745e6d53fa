"""Another encoder judges what an attack on claims made: its scores by hand, and a start that is noise."""

from copy import deepcopy
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from voxcert.attacks import bim, pgd
from voxcert.data.audio import load
from voxcert.encoders.base import enroll
from voxcert.evaluation.attack.attacker import Attacker
from voxcert.evaluation.attack.judge import appoint_judge
from voxcert.evaluation.attack.settings import AttackSettings
from voxcert.evaluation.attack.trials import plan_trials
from voxcert.evaluation.attack.victim import Victim
from voxcert.evaluation.metrics.detection import equal_error_rate
from voxcert.evaluation.run.speakers import enrolled_only

CPU = torch.device("cpu")


class Whole(torch.nn.Module):
    """The waveform itself as an embedding: what an attacker can reach is geometry."""

    def forward(self, waveform):
        """(batch, time) -> (batch, time)."""
        return F.normalize(waveform, dim=-1)


@pytest.fixture
def attacked(toy, tmp_path):
    """A function that attacks all claims, with any encoder, judge and settings: the recognizer, and the rows."""

    def rows(attack, encoder=None, judge=None, radius=None, **changes):
        encoder, data = encoder or toy[0], toy[1]
        settings = AttackSettings(str(tmp_path), scenario="sv", threshold=0.5, **changes)
        recognizer = enroll(encoder, data.enrollment_dataloader("test"))
        named = [(one.id, one.speaker) for one in data.tested("test")]
        trials = plan_trials(named, recognizer.speakers, scenario="sv", targeted=True)
        attacker = Attacker(attack, Victim(recognizer, settings, 0.5), CPU, judge=judge)
        return recognizer, attacker.rows(data.items("test"), trials, radius)

    return rows


def judge_of(encoder, data, speakers="abcd"):
    settings = AttackSettings("run", scenario="sv", sigma=0.3, decision="vote", judge="other", judge_hash="0123")
    return appoint_judge(encoder, data, data.items("test"), speakers, settings, CPU)


def test_a_prototype_is_approached_as_far_as_the_budget_goes(toy, attacked):
    items = {item["utterance"]: item["waveform"] for item in toy[1].items("test")[:-1]}
    for radius in (0.2, 0.7):
        recognizer, rows = attacked(pgd(epsilon=1.0, steps=200, random_start=False), Whole(), radius=radius)
        for row in rows[:-1]:
            waveform = items[row.utterance]
            start = recognizer(waveform[None])[0, recognizer.speakers.index(row.target)]
            nearest = float(torch.cos(torch.acos(start) - torch.asin(radius / waveform.norm())))
            assert nearest - 0.005 < row.score < nearest + 1e-4, "the tangent to the ball is the best there is"


def test_without_a_budget_the_prototype_itself_is_reached_from_speech_and_from_noise(toy, attacked):
    for start in ("utterance", "white", "brown"):
        _, rows = attacked(bim(epsilon=20.0, norm="l2", steps=400), Whole(), start=start)
        assert all(row.success and row.score > 0.998 for row in rows[:-1])
        assert {row.start for row in rows} == {start}
        assert not any(row.success_before for row in rows)


def test_noise_is_as_loud_as_the_utterance_and_its_own(toy, attacked, tmp_path):
    items = toy[1].items("test")[:-1]
    quiet = bim(epsilon=1e-6)
    heard = {}
    for start, seed in product(("white", "brown"), (0, 1)):
        _, rows = attacked(quiet, start=start, seed=seed, keep="wav")
        for item, row in zip(items, rows, strict=False):
            noise = load(tmp_path / row.file, min_seconds=0)
            assert noise.norm() == pytest.approx(float(item["waveform"].norm()), rel=1e-3)
            heard[start, seed, row.utterance] = F.normalize(noise, dim=0)
    matrix = torch.stack([noise for (start, *_), noise in heard.items() if start == "white"])
    assert (matrix @ matrix.T - torch.eye(len(matrix))).abs().max() < 0.5, "none is another's"
    slow = np.mean([float((noise[1:] - noise[:-1]).norm()) for (start, *_), noise in heard.items() if start == "brown"])
    assert slow < 0.5, "white noise has 1.4"
    again = [row.score for row in attacked(quiet, start="white", seed=1, keep="wav")[1]]
    assert again == [row.score for row in attacked(quiet, start="white", seed=1, keep="wav")[1]]


def test_a_judge_scores_the_target_by_its_own_prototypes(toy, attacked, tmp_path):
    encoder, data = deepcopy(toy[0]), toy[1]
    encoder.weight = torch.randn(200, 8, generator=torch.Generator().manual_seed(9))
    judge = judge_of(encoder, data)
    _, (*rows, failed) = attacked(bim(epsilon=0.05), judge=judge, keep="wav", seed=2)
    recognizer = enroll(encoder, data.enrollment_dataloader("test"))
    for item, row in zip(data.items("test"), rows, strict=False):
        target = recognizer.speakers.index(row.target)
        before, after = recognizer(torch.stack([item["waveform"], load(tmp_path / row.file, min_seconds=0)]))
        assert row.judge_before == pytest.approx(float(before[target]), abs=1e-6)
        assert row.judge_score == pytest.approx(float(after[target]), abs=1e-6), "of what was written"
        assert (row.judge, row.judge_threshold) == ("0123", judge.verifier.threshold)
    assert (failed.judge_before, failed.judge_score) == (None, None)


def test_an_attacked_encoder_that_judges_agrees_with_itself(toy, attacked):
    _, (*rows, _) = attacked(bim(epsilon=0.05), judge=judge_of(*toy))
    assert [row.judge_score for row in rows] == pytest.approx([row.score for row in rows], abs=1e-6)
    assert all(row.judge_before < row.judge_score for row in rows)


def test_a_judge_has_the_speakers_of_the_system_and_the_threshold_of_its_errors(toy):
    encoder, data = toy
    judge = judge_of(encoder, data, "db")
    recognizer = enrolled_only(enroll(encoder, data.enrollment_dataloader("test")), [], ["b", "d"], 0)
    genuine, impostor = [], []
    for item in data.items("test")[:-1]:
        for speaker, score in zip("bd", recognizer(item["waveform"][None])[0].tolist(), strict=True):
            (genuine if speaker == item["speaker"] else impostor).append(score)
    error_rate, threshold = equal_error_rate(genuine, impostor)
    assert (judge.error_rate, judge.verifier.threshold) == (error_rate, pytest.approx(threshold, abs=1e-6))
    assert judge.verifier.settings.sigma is None, "the attacked system is smoothed, the judge is not"
    trials = plan_trials([("a0", "a"), ("b0", "b")], ["d", "b"], scenario="sv", targeted=True, target="d")
    first, second = (replace(trial, target=target) for trial, target in zip(trials, "db", strict=True))
    waveform = torch.stack([data.centers["d"], data.centers["b"]])
    assert judge.scores(waveform, [first, second]) == pytest.approx([1, 1], abs=1e-6)
