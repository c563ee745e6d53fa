import pytest

from voxcert.evaluation.defence.figures import defences_figure, plot_defences, quality_figure
from voxcert.evaluation.defence.row import DefenceRow
from voxcert.evaluation.defence.tables import by_condition, render_defences, summarize_defences
from voxcert.evaluation.metrics.speech_quality import csqi


def trials(defence, condition, genuine, impostor, adaptive=False, **changes):
    """Rows with these scores, all of one quality."""
    values = {"stoi": 0.8, "pesq": 2.0, "si_sdr_db": 10.0, "snr_db": 11.0, "l2": 0.1, "linf": 0.001} | changes
    return [
        DefenceRow(
            defence, condition, adaptive, f"u{i}", f"s{i}", f"s{i}" if target else "b", target, score=score, **values
        )
        for target, scores in ((True, genuine), (False, impostor))
        for i, score in enumerate(scores)
    ]


ROWS_OF_A_RUN = [
    *trials("none", "genuine", [0.8, 0.9], [0.1, 0.2]),
    *trials("none", "PGD", [-0.1, -0.2], [0.8, 0.9]),
    *trials("mean", "genuine", [0.9, 0.3], [0.1, 0.6], stoi=0.7),
    *trials("mean", "PGD", [0.8, 0.9], [0.1, 0.2], pesq=None, reasons={"pesq": "too short"}),
    *trials("mean", "PGD", [0.3, 0.9], [0.1, 0.6], adaptive=True),
]


def test_error_rates_and_indices_are_those_of_the_trials():
    entries = {(one["defence"], one["condition"], one["adaptive"]): one for one in summarize_defences(ROWS_OF_A_RUN)}
    rates = {key: entry["error_rate"] for key, entry in entries.items()}
    assert rates == {
        ("none", "genuine", False): 0,
        ("none", "PGD", False): 1,
        ("mean", "genuine", False): 0.5,
        ("mean", "PGD", False): 0,
        ("mean", "PGD", True): 0.5,
    }
    half = entries["mean", "genuine", False]
    assert half["low"] < 0.5 < half["high"]
    assert half["csqi"] == pytest.approx(csqi(0.7, 2.0, 10.0, 0.5)) == pytest.approx(6.35)
    assert entries["none", "PGD", False]["csqi"] == 0
    unmeasured = entries["mean", "PGD", False]
    assert unmeasured["pesq"] is None is unmeasured["csqi"]
    assert unmeasured["unmeasured"]["pesq"] == {"too short": 4}
    assert unmeasured["stoi"] == pytest.approx(0.8)


def test_failures_are_counted_and_leave_no_rate_of_nothing():
    rows = trials("mean", "PGD", [0.5], [0.4])
    failed = [DefenceRow("mean", "PGD", False, "u9", "a", claim, claim == "a", failed="empty") for claim in "ab"]
    (entry,) = summarize_defences(rows + failed)
    assert (entry["num_trials"], entry["num_failed"], entry["error_rate"]) == (4, 2, 0)
    (entry,) = summarize_defences(failed)
    assert entry["error_rate"] is None is entry["csqi"]
    assert "| mean    | -" in render_defences([entry])
    text = render_defences(summarize_defences(rows + failed + trials("mean", "PGD", [0.5], [0.4], adaptive=True)))
    assert "Failed, and in no rate: mean (PGD) 2 of 4 trials. Their rows say why." in text.splitlines()


def test_tables_have_all_columns_and_only_those_attacks_are_doubted_that_did_less():
    text = render_defences(summarize_defences(ROWS_OF_A_RUN))
    lines = text.splitlines()
    assert [cell.strip() for cell in lines[0].split("|")[1:-1]] == ["defence", "genuine", "PGD", "PGD, adaptive"]
    assert [cell.strip().partition(" ")[0] for cell in lines[3].split("|")[1:-1]] == ["mean", "50.0", "0.0", "50.0"]
    assert [cell.strip() for cell in lines[2].split("|")[1:-1]][-1] == "-"
    assert "too weak" not in text
    assert "Failed" not in text
    assert "WB-PESQ 4" in text
    weaker = [*ROWS_OF_A_RUN[:-8], *trials("mean", "PGD", [0.3, 0.9], [0.1, 0.6])]
    weaker += trials("mean", "PGD", [0.8, 0.9], [0.1, 0.2], adaptive=True)
    assert "did less than the one that knows nothing against mean (PGD): it is too weak." in render_defences(
        summarize_defences(weaker)
    )


def test_conditions_come_genuine_first():
    assert list(by_condition(summarize_defences(ROWS_OF_A_RUN[4:]))) == [
        ("genuine", False),
        ("PGD", False),
        ("PGD", True),
    ]


def test_the_picture_has_a_dot_for_each_rate():
    (axes,) = defences_figure(summarize_defences(ROWS_OF_A_RUN)).axes
    dots = {bars.get_label(): bars.lines[0].get_xdata().tolist() for bars in axes.containers}
    assert dots == {"genuine": [0, 50], "PGD": [100, 0], "PGD, adaptive": [50]}
    filled = {bars.get_label(): bars.lines[0].get_markerfacecolor() != "white" for bars in axes.containers}
    assert filled == {"genuine": True, "PGD": False, "PGD, adaptive": True}
    assert [label.get_text() for label in axes.get_yticklabels()] == ["none", "mean"]
    with pytest.raises(ValueError, match="entries must hold at least one defence"):
        defences_figure([])


def test_the_price_in_quality_joins_those_that_none_beats():
    rows = [
        *trials("none", "genuine", [0.8, 0.9], [0.1, 0.2], pesq=4.0),
        *trials("none", "PGD", [-0.1, -0.2], [0.8, 0.9]),
        *trials("noise", "genuine", [0.8, 0.9], [0.1, 0.2], pesq=1.5),
        *trials("noise", "PGD", [0.8, 0.9], [0.1, 0.2]),
        *trials("noise", "PGD", [0.3, 0.9], [0.1, 0.6], adaptive=True),
        *trials("mean", "genuine", [0.9, 0.3], [0.1, 0.6], pesq=1.0),
        *trials("mean", "PGD", [0.3, 0.4], [0.5, 0.6]),
        *trials("mean", "PGD", [0.8, 0.9], [0.1, 0.2], adaptive=True),
        *trials("unknown", "genuine", [0.8, 0.9], [0.1, 0.2], pesq=3.9),
        *trials("unknown", "PGD", [0.8, 0.9], [0.1, 0.2]),
    ]
    figure = quality_figure(summarize_defences(rows))
    (axes,) = figure.axes
    points = {bars.get_label(): bars.lines[0].get_xydata().tolist() for bars in axes.containers}
    assert points == {"none": [[4.0, 100]], "noise": [[1.5, 50]], "mean": [[1.0, 100]]}, "the worse attack counts"
    assert axes.lines[0].get_xydata().tolist() == [[4.0, 100], [1.5, 50]]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["none", "noise", "mean"]
    assert axes.get_xlabel().startswith("WB-PESQ")


def test_no_price_is_drawn_before_an_attack_that_knows_the_defence(tmp_path):
    early = summarize_defences(ROWS_OF_A_RUN[:-4])
    with pytest.raises(ValueError, match="attacked knowingly, got none"):
        quality_figure(early)
    plot_defences(early, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"defences.png"}
    plot_defences(summarize_defences(ROWS_OF_A_RUN), tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"defences.png", "quality.png"}
