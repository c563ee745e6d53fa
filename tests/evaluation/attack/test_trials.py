import pytest
import torch

from voxcert.attacks import REJECTED
from voxcert.encoders.base import Recognizer
from voxcert.evaluation.attack.trials import plan_trials
from voxcert.evaluation.run.speakers import enrolled_only

SPEAKERS = ["a", "b", "c"]
ITEMS = [("a0", "a"), ("b0", "b"), ("x0", "x"), ("c0", "c")]


def plan(items=ITEMS, **changes):
    return plan_trials(items, SPEAKERS, **{"scenario": "csi", "targeted": True} | changes)


def test_a_closed_set_is_attacked_by_its_own_speakers():
    trials = plan()
    assert [trial.utterance for trial in trials] == ["a0", "b0", "c0"]
    assert [trial.index for trial in trials] == [0, 1, 3]
    for trial in trials:
        assert trial.expected == trial.speaker != trial.target
        assert trial.label(SPEAKERS) == SPEAKERS.index(trial.target)
        assert trial.succeeded(trial.target)
        assert not trial.succeeded(trial.speaker)
        assert not trial.succeeded(None)


def test_away_from_the_right_speaker():
    (trial, *_) = plan(targeted=False)
    assert (trial.expected, trial.target, trial.label(SPEAKERS)) == ("a", None, 0)
    assert trial.succeeded("b")
    assert not trial.succeeded("a")


def test_an_open_set_is_attacked_by_impostors():
    (trial,) = plan(scenario="osi")
    assert (trial.utterance, trial.expected) == ("x0", None)
    assert trial.target in SPEAKERS
    (trial,) = plan(scenario="osi", targeted=False)
    assert trial.label(SPEAKERS) == REJECTED
    assert trial.succeeded("a")
    assert not trial.succeeded(None)


def test_verification_is_attacked_by_anybody_else_or_refuses_the_true_speaker():
    impostors = plan(scenario="sv", target="b")
    assert [trial.utterance for trial in impostors] == ["a0", "x0", "c0"]
    assert {(trial.target, trial.expected, trial.claim) for trial in impostors} == {("b", None, "b")}
    genuine = plan(scenario="sv", targeted=False)
    assert [(trial.expected, trial.target) for trial in genuine] == [("a", None), ("b", None), ("c", None)]
    assert [trial.claim for trial in genuine] == ["a", "b", "c"]
    assert genuine[0].succeeded(None)
    assert not genuine[0].succeeded("a")


def test_targets_depend_on_seed_and_utterance_alone():
    many = [(f"a{i}", "a") for i in range(50)]
    whole = {trial.utterance: trial.target for trial in plan(many)}
    part = {trial.utterance: trial.target for trial in plan(many[::-3])}
    assert part == {utterance: whole[utterance] for utterance in part}
    assert set(whole.values()) == {"b", "c"}
    assert whole != {trial.utterance: trial.target for trial in plan(many, seed=1)}


def test_enrolled_speakers_are_named_or_drawn():
    recognizer = Recognizer(torch.nn.Identity(), torch.eye(3), SPEAKERS)
    assert enrolled_only(recognizer, ["a"], None, seed=0) is recognizer
    named = enrolled_only(recognizer, ["a"], ["c", "a"], seed=0)
    assert named.speakers == ["a", "c"]
    assert torch.equal(named.prototypes, torch.eye(3)[[0, 2]])
    drawn = [enrolled_only(recognizer, ["a", "c"], 2, seed=i) for i in range(5)]
    assert all(one.speakers == ["a", "c"] for one in drawn), "only speakers with test utterances are drawn"
    drawn = {tuple(enrolled_only(recognizer, SPEAKERS, 2, seed=i).speakers) for i in range(9)}
    assert len(drawn) > 1


@pytest.mark.parametrize(
    ("enrolled", "message"),
    [
        (1, r"enrolled must be in \[2, 2\], the speakers to test, got 1"),
        (3, r"enrolled must be in \[2, 2\], the speakers to test, got 3"),
        (["a", "y"], r"enrolled must name 2 or more of the speakers 'a', 'b', 'c', got \['a', 'y'\]"),
        (["a"], "enrolled must name 2 or more"),
    ],
)
def test_unknown_speakers_are_named(enrolled, message):
    recognizer = Recognizer(torch.nn.Identity(), torch.eye(3), SPEAKERS)
    with pytest.raises(ValueError, match=message):
        enrolled_only(recognizer, ["a", "b", "x"], enrolled, seed=0)


@pytest.mark.parametrize(
    ("items", "changes", "message"),
    [
        (ITEMS, {"target": "x"}, "target must be one of the enrolled speakers 'a', 'b', 'c', got 'x'"),
        (ITEMS[:2], {"scenario": "osi"}, "scenario osi needs test utterances of speakers who are not enrolled"),
        (ITEMS[2:3], {}, "scenario csi needs test utterances of enrolled speakers"),
    ],
)
def test_what_the_data_does_not_have_is_named(items, changes, message):
    with pytest.raises(ValueError, match=message):
        plan(items, **changes)


def test_many_names_are_not_all_listed():
    speakers = [f"s{i:02}" for i in range(30)]
    with pytest.raises(ValueError, match="'s07' and 22 more, got 'x'"):
        plan_trials([("s000", "s00")], speakers, scenario="csi", targeted=True, target="x")
