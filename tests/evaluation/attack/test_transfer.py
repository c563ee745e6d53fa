import pytest
from attacked import attack_row

from voxcert.evaluation.attack.transfer import summarize_transfer, transfer_table
from voxcert.smoothing import wilson_interval

CLAIM = {"target": "b", "scenario": "sv", "expected": None, "clean": None, "adversarial": "b", "score": 0.8}
JUDGED = {"judge": "other", "judge_threshold": 0.4, "judge_before": 0.1}
ROWS = [
    attack_row("u0", **CLAIM, **JUDGED, judge_score=0.4),
    attack_row("u1", **CLAIM, **JUDGED | {"judge_before": 0.5}, judge_score=0.6),
    attack_row("u2", **CLAIM | {"score": 0.2, "success": False}, **JUDGED, judge_score=0.39),
    attack_row("u3", **CLAIM | {"score": None, "success": False}, failed="empty"),
]


def test_a_summary_counts_what_the_judge_accepts():
    entry = summarize_transfer(ROWS)
    assert (entry["accepted_before"], entry["accepted"]) == (0.25, 0.5)
    assert (entry["low"], entry["high"]) == wilson_interval(2, 4)
    assert entry["score_before"] == pytest.approx(0.7 / 3)
    assert entry["score"] == pytest.approx(1.39 / 3)


def test_a_summary_of_failures_has_no_scores():
    entry = summarize_transfer(ROWS[3:])
    assert (entry["accepted"], entry["score_before"], entry["score"]) == (0.0, None, None)


def test_a_table_has_a_line_for_each_run_and_budget():
    noise = [attack_row(**CLAIM, **JUDGED, judge_score=0.1, start="white", sigma=0.1, decision="vote", radius=2.0)]
    heading, _, speech, white = transfer_table([ROWS, noise]).splitlines()
    assert heading.count("after %") == 2
    assert "| claims | failed | accepted before % |" in heading
    cells = [cell.strip() for cell in speech.strip("|").split("|")]
    assert cells == [
        *["utterance", "0.1 l2", "01234567", "not smoothed", "4", "1", "0.0"],
        *["50.0 [15.0, 85.0]", "0.60", "0.10", "25.0", "50.0 [15.0, 85.0]", "0.23", "0.46"],
    ]
    assert white.startswith("| white noise | 0.1 l2 | 01234567 | smoothed 0.1 (vote) | 1 ")
