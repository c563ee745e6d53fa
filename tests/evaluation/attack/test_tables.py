import pytest
from attacked import attack_row

from voxcert.evaluation.attack.tables import attack_table, by_budget, summarize_attack, summarize_robustness
from voxcert.smoothing import wilson_interval

ROWS = [
    attack_row("u0", target="b", snr_db=20.0),
    attack_row("u1", target="b", snr_db=30.0, clean="b", success_before=True),
    attack_row("u2", target="b", snr_db=40.0, adversarial="c", success=False),
    attack_row("u3", target="b", snr_db=None, l2=0.0, linf=0.0, adversarial="a", success=False),
    attack_row("u4", target="b", snr_db=None, l2=0.0, failed="empty", success=False),
]


def test_summary_counts_what_was_there_before_and_failures():
    entry = summarize_attack(ROWS)
    assert (entry["num_utterances"], entry["num_failed"]) == (5, 1)
    assert entry["success_rate"] == 0.4
    assert (entry["low"], entry["high"]) == wilson_interval(2, 5)
    assert entry["success_rate_before"] == 0.2
    assert entry["success_rate_of_rest"] == 0.25
    assert entry["snr_db"] == 30
    assert entry["snr_db_of_successes"] == 25
    assert (entry["accuracy_before"], entry["accuracy"]) == (0.6, 0.2)
    assert entry["l2"] == pytest.approx(0.075)


def test_passes_are_means_over_the_rows_that_count_them():
    rows = [attack_row(forwards=10, backwards=4), attack_row(forwards=11, backwards=4), attack_row(failed="empty")]
    entry = summarize_attack(rows)
    assert (entry["forwards"], entry["backwards"]) == (10.5, 4)
    heading, _, line = attack_table([rows]).splitlines()
    cells = dict(zip(*([cell.strip() for cell in text.split("|")] for text in (heading, line)), strict=True))
    assert (cells["forwards"], cells["backwards"]) == ("10.5", "4")


def test_nothing_to_average_is_none():
    entry = summarize_attack([attack_row(success_before=True, success=False, snr_db=None)])
    assert entry["forwards"] is None
    assert entry["backwards"] is None
    assert entry["success_rate_of_rest"] is None
    assert entry["snr_db"] is None
    assert entry["snr_db_of_successes"] is None


def test_robustness_has_wilson_intervals_over_utterances():
    rows = [attack_row(f"u{i}", radius=radius, l2=radius) for i in range(4) for radius in (0.1, 0.2)]
    zero, half = summarize_robustness(rows, [0.05, 0.1])
    assert (zero["value"], zero["low"], zero["high"]) == (1.0, *wilson_interval(4, 4))
    assert (half["radius"], half["value"], half["high"]) == (0.1, 0.0, wilson_interval(0, 4)[1])


def test_table_has_one_line_per_run_and_budget():
    sweep = [
        attack_row(radius=radius, sigma=0.01, decision="vote", attack_settings={"epsilon": radius, "norm": "l2"})
        for radius in (0.1, 0.2)
    ]
    assert list(by_budget(sweep)) == [0.1, 0.2]
    free = attack_row(attack="carlini_wagner", attack_settings={"kappa": 0})
    heading, _, targeted, small, large, without = attack_table([ROWS, sweep, [free]]).splitlines()
    assert "success %" in heading
    assert "pgd, targeted" in targeted
    assert "40.0 [11.8, 76.9]" in targeted
    assert "| 0.1 l2 " in small
    assert "smoothed 0.01 (vote)" in small
    assert "| 0.2 l2 " in large
    assert "| carlini_wagner, untargeted | - " in without
    assert "| -        | -         | 0.5 |" in without, "rows older than the count"


def test_a_table_counts_failures_where_there_are_some():
    heading, _, some, none = (
        [cell.strip() for cell in line.split("|")] for line in attack_table([ROWS, ROWS[:4]]).splitlines()
    )
    place = heading.index("failed")
    assert heading[place - 1] == "utterances"
    assert (some[place - 1 : place + 1], none[place - 1 : place + 1]) == (["5", "1"], ["4", "0"])
    assert "failed" not in attack_table([ROWS[:4]])
