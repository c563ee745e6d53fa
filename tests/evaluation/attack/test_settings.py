import math

import pytest

from voxcert.evaluation.attack.settings import AttackSettings


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scenario": "open"}, "scenario must be one of csi, osi, sv, got 'open'"),
        ({"decision": "max"}, "decision must be one of mean, vote, got 'max'"),
        ({"start": "speech"}, "start must be one of utterance, white, .*, got 'speech'"),
        (
            {"start": "white"},
            "start and judge must be utterance .* got white and None with scenario csi",
        ),
        (
            {"judge": "other", "scenario": "sv", "targeted": False},
            "and 'other' with scenario sv and targeted False",
        ),
        ({"judge_hash": "0123", "scenario": "sv"}, "judge_hash must be null without a judge, got '0123'"),
        ({"num_eval": 0}, "num_eval must be at least 1, got 0"),
        ({"enroll_noise": -1}, "enroll_noise must be at least 0, got -1"),
        ({"utterances_per_batch": 0}, "utterances_per_batch must be at least 1, got 0"),
        ({"sigma": 0.0}, "sigma must be finite and above 0, or null, got 0.0"),
        ({"radii": []}, r"radii must be one or more finite numbers above 0, got \[\]"),
        ({"radii": [0.1, 0.0]}, r"radii must be one or more finite numbers above 0, got \[0.1, 0.0\]"),
        ({"radii": [0.1, 0.1]}, r"radii must differ, got \[0.1, 0.1\]"),
        ({"target": "a", "targeted": False}, "target must be null when targeted is false, got 'a'"),
        ({"threshold": 0.5}, "threshold must be null in the scenario csi, got 0.5"),
        ({"threshold": math.nan, "scenario": "sv"}, "threshold must be finite or null, got nan"),
        ({"threshold": -math.inf, "scenario": "osi"}, "threshold must be finite or null, got -inf"),
        ({"decision": "vote"}, "decision must be mean without a sigma or in osi, got vote with sigma None"),
        ({"decision": "vote", "sigma": 0.1, "scenario": "osi"}, "got vote with sigma 0.1 in the scenario osi"),
        ({"certified": "run", "scenario": "osi"}, "certified must be null in osi, and in csi beside enrolled"),
        (
            {"within": 0.99},
            "within must be in .* beside certified and sigma and without radii, got 0.99",
        ),
        ({"within": 1.5, "certified": "run", "sigma": 0.1}, r"within must be in \(0, 1\].* got 1.5"),
        ({"within": 0.5, "certified": "run", "sigma": 0.1, "radii": [0.1]}, r"and radii \[0.1\]"),
        (
            {"within": 0.5, "certified": "run", "sigma": 0.1, "scenario": "sv"},
            "within must be null but in the scenario csi, got 0.5 in sv",
        ),
        ({"certified": "run", "enrolled": 3}, "certified must be null .* and enrolled 3"),
    ],
)
def test_wrong_settings_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        AttackSettings("run", **changes)


def test_claims_may_be_those_of_some_who_were_certified():
    settings = AttackSettings("run", scenario="sv", certified="run", enrolled=3)
    assert (settings.certified, settings.enrolled) == ("run", 3)


def test_a_smoothed_vote_is_a_setting():
    assert AttackSettings("run", sigma=0.1, decision="vote", radii=[0.2, 0.1]).radii == [0.2, 0.1]
