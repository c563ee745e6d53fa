"""Tables of defences: printed numbers stand beside the defence and the attack that they are about."""

from dataclasses import replace

import pytest
from defence_tables import beside_tdap, by_draws, quality_beside_tdap

from table_cells import cells
from voxcert.evaluation.defence.row import DefenceRow
from voxcert.evaluation.metrics.detection import equal_error_rate, rate_over_speakers


def rows(defence, condition, adaptive=False, *, wrong=False, failed=None):
    """A true claim and a false one, whose scores are in their order or not."""
    scores = (0.1, 0.9) if wrong else (0.9, 0.1)
    about = {"stoi": 0.9, "pesq": 2.0, "si_sdr_db": 10.0, "failed": failed}
    return [
        DefenceRow(defence, condition, adaptive, "a/1", "a", "a", True, score=scores[0], **about),
        DefenceRow(defence, condition, adaptive, "a/1", "a", "b", False, score=scores[1], **about),
    ]


def test_printed_error_rates_stand_beside_the_same_defence():
    first = rows("none", "genuine") + rows("none", "PGD-l2", wrong=True)
    first += rows("noise 0.015", "PGD-l2") + rows("noise 0.015", "PGD-l2", True, wrong=True)
    second = rows("none", "PGD-linf", wrong=True) + rows("none", "PGD-l2") + rows("my own", "PGD-linf")
    heading, _, none, noise, own = (cells(line) for line in beside_tdap([first, second]).splitlines())
    assert heading[1:3] == ["genuine, paper: %", "here: %"]
    assert heading[3:6] == ["PGD-l2, paper: %", "here: %", "PGD-l2, adaptive: %"]
    assert [cell.split(" [")[0] for cell in none[1:]] == ["0.813", "0.0", "98.78", "100.0", "", "99.213", "100.0"]
    assert [cell.split(" [")[0] for cell in noise[1:]] == ["2.846", "", "4.131", "0.0", "100.0", "3.74", ""]
    assert [cell.split(" [")[0] for cell in own[1:]] == ["", "", "", "", "", "", "0.0"]


def test_a_failure_is_said():
    failing = rows("none", "PGD-l2")[:1] + rows("none", "PGD-l2", failed="the attack changed nothing")[1:]
    assert "1 failed" in beside_tdap([failing])


def test_printed_quality_stands_beside_the_same_attack():
    both = rows("TDAP", "PGD-l2") + rows("TDAP", "PGD-linf") + rows("mean", "PGD-linf")
    tdap, mean = (cells(line) for line in quality_beside_tdap("PGD-linf", [both]).splitlines()[2:])
    assert tdap == ["TDAP", "0.931", "0.900", "2.96", "2.000", "10.271", "10.000", "13.749", "12.900"]
    assert mean[:3] == ["mean", "", "0.900"]


def test_the_index_of_quality_has_the_interval_of_its_error_rate():
    many = [
        replace(row, utterance=f"{speaker}/1", speaker=f"{speaker}")
        for speaker in range(40)
        for row in rows("TDAP", "PGD-l2", wrong=speaker % 4 == 0)
    ]
    scores, genuine = [row.score for row in many], [row.target for row in many]
    speakers = [row.speaker for row in many]
    rate, low, high = rate_over_speakers(lambda *kinds: equal_error_rate(*kinds)[0], scores, genuine, speakers)
    assert 0 < low < rate < high < 1
    (line,) = quality_beside_tdap("PGD-l2", [many]).splitlines()[2:]
    best = 0.9 + 2 + 10
    assert cells(line)[-1] == f"{best * (1 - rate):.3f} [{best * (1 - high):.3f}, {best * (1 - low):.3f}]"


def test_draws_are_compared_on_the_trials_that_all_have():
    once = rows("noise", "PGD-l2", True) + rows("noise", "PGD-l2") + rows("other", "PGD-l2", True)
    more = [replace(row, utterance="b/1", speaker="b", score=1 - row.score) for row in once[:2]]
    often = rows("noise", "PGD-l2", True, wrong=True)
    lines = by_draws("noise", "PGD-l2", [("once", 1, once + more), ("often", 4, often)]).splitlines()[2:]
    assert [[cell.split(" [")[0] for cell in cells(line)] for line in lines] == [
        ["1", "0.0", "2 (1)", "`once`"],
        ["4", "100.0", "2 (1)", "`often`"],
    ]


def test_draws_without_a_common_trial_are_refused():
    apart = [replace(row, utterance="b/1") for row in rows("noise", "PGD-l2", True)]
    with pytest.raises(ValueError, match="share trials"):
        by_draws("noise", "PGD-l2", [("here", 1, rows("noise", "PGD-l2", True)), ("there", 4, apart)])
