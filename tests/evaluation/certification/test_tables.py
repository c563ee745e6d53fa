"""Numbers of the table by hand, and sentences that say no more than the rows."""

import json

import numpy as np
import pytest

from voxcert.columns import Columns
from voxcert.evaluation.certification.figures import certified_accuracy_figure
from voxcert.evaluation.certification.job import summarize_run
from voxcert.evaluation.certification.tables import default_radii, markdown_table, statement, summarize, unfinished
from voxcert.smoothing import Certificate, wilson_interval


def test_summary_by_hand(certificate):
    rows = [
        certificate(radius=0.03, utterance="u0"),
        certificate(radius=0.01, utterance="u1"),
        certificate(radius=0.05, utterance="u2", prediction="b"),  # certified, but wrong
        certificate(radius=0.0, utterance="u3", point_radius=0.004),  # right, but not certified
    ]
    entry = summarize(rows, [0.0, 0.01, 0.02])["distribution"]
    assert entry["smoothed_accuracy"] == 0.75
    assert entry["abstention_rate"] == 0.25
    assert entry["abstained"] == {"lower bound not positive": 1}
    assert entry["acr"] == pytest.approx(0.04 / 4)
    assert entry["acr_plug_in"] == pytest.approx((0.06 + 0.02 + 0.004) / 4)
    assert entry["num_capped"] == 0
    assert [point["value"] for point in entry["certified_accuracy"]] == [0.5, 0.25, 0.25]  # strictly above the radius
    assert (entry["certified_accuracy"][0]["low"], entry["certified_accuracy"][0]["high"]) == wilson_interval(2, 4)


def test_default_radii_are_multiples_of_sigma():
    assert default_radii(0.1) == pytest.approx([0.0, 0.05, 0.1, 0.15, 0.2])


def test_table_has_a_row_per_rule_and_marks_published_ones(certificate):
    table = markdown_table(summarize([certificate("vote"), certificate("published_mean")], [0.0, 0.005]))
    header, line, vote, published = table.splitlines()
    assert len({len(row) for row in table.splitlines()}) == 1  # aligned
    assert "CA at 0.005" in header
    assert "---" in line
    assert "vote" in vote
    assert "guarantee" not in vote
    assert "published_mean (not a guarantee)" in published


def test_nothing_certified_is_shown_as_more_than_it_is(certificate):
    """299 of 300, at a radius that three digits cannot say; 39.45 dB below the utterance, which is louder than 39.4."""
    rows = [certificate(utterance=f"u{i}", radius=0.02 if i else 0.0, snr_db=39.41) for i in range(300)]
    header, _, line = markdown_table(summarize(rows, [0.0, 0.01466])).splitlines()
    assert header.split("|")[5].strip() == "CA at 0.0146"
    assert [cell.strip() for cell in line.split("|")[4:6]] == ["0.99 [0.98, 1.00]"] * 2
    assert "(39.5 dB below that utterance)" in statement(rows)


def test_radii_are_rounded_down_and_capped_estimates_are_marked(certificate):
    rows = [certificate(radius=0.01239, point_radius=0.04599, point_capped=True)]
    (line,) = markdown_table(summarize(rows, [0.0])).splitlines()[2:]
    assert [cell.strip() for cell in line.split("|")[-3:-1]] == ["0.0123", "> 0.0459"]
    assert "radii are 0.0123 (" in statement(rows)


def test_an_unfinished_run_does_not_speak_of_all(certificate):
    rows = [certificate(utterance=f"u{index}") for index in range(30)]
    columns = Columns(Certificate, rows)
    assert unfinished(columns, 120) == "30 of 120 utterances"
    assert unfinished(columns, 30) is unfinished(columns, None) is None
    assert "Proved for 30 of the 30 utterances done so far: " in statement(rows, planned=120)
    assert "Proved for 30 of 30 utterances: " in statement(rows, planned=30)
    none = [certificate(radius=0.0, utterance=f"u{index}") for index in range(3)]
    assert "none of the 3 utterances done so far" in statement(none, planned=5)
    assert certified_accuracy_figure(rows, planned=120).axes[0].get_title().startswith("30 of 120 utterances")


def test_statement_uses_the_rule_that_came_first(certificate):
    """Not the best one: whoever chooses among several proofs after seeing them has several chances to be wrong."""
    rows = [certificate("published_se", 0.5), certificate("distribution", 0.01), certificate("vote", 0.02)]
    sentence = statement(rows)
    assert "rule distribution" in sentence
    assert "Proved for 1 of 1 utterances" in sentence
    assert "at most 0.001" in sentence
    assert "0.01 (40.0 dB" in sentence


def test_statement_names_a_radius_that_half_of_the_utterances_reach(certificate):
    rows = [certificate(radius=radius, utterance=f"u{radius}") for radius in (0.01, 0.02, 0.03, 0.04)]
    assert "at least half of these radii are 0.02 " in statement(rows)


def test_statement_without_a_proof_claims_nothing(certificate):
    assert statement([certificate("published_mean")]).startswith("Nothing was proved")
    assert statement([certificate(radius=0.0)]).startswith("Nothing was proved")
    assert statement([certificate(prediction="b")]).startswith("Nothing was proved")


def test_utterances_of_one_speaker_are_alike(certificate):
    """Two speakers of ten utterances each, one certified throughout: they say what two trials say."""
    rows = [certificate(utterance=f"u{i}", speaker="ab"[i // 10], prediction="a") for i in range(20)]
    (point,) = summarize(rows, [0.0])["distribution"]["certified_accuracy"]
    assert point["value"] == 0.5
    assert (point["low_speakers"], point["high_speakers"]) == wilson_interval(1, 2)
    (alone,) = summarize(rows[:10], [0.0])["distribution"]["certified_accuracy"]
    assert (alone["low_speakers"], alone["high_speakers"]) == (None, None)


def test_a_summary_is_that_of_the_rows_one_by_one(certificate):
    """To the last digit, with the formulas written out over rows."""
    generator = np.random.default_rng(0)
    rows = [
        certificate(
            rule,
            radius=float(generator.exponential(0.01)) if (certified := generator.random() < 0.7) else 0.0,
            utterance=f"u{number}",
            speaker=(speaker := f"s{number % 23:02}"),
            prediction=speaker if generator.random() < 0.8 else "s9",
            abstained=None if certified else f"reason {number % 2}",
            point_radius=float(generator.exponential(0.02)),
            point_capped=bool(generator.random() < 0.2),
            num_forwards=int(generator.integers(0, 3)) * 110,
            seconds=float(generator.exponential()),
            snr_db=None,
        )
        for number in range(300)
        for rule in ("distribution", "vote")
    ]
    found = summarize_run(rows, [0.0, 0.01])
    passes = list({row.utterance: row for row in rows}.values())
    assert found["num_utterances"] == 300
    assert found["num_failed"] == sum(row.num_forwards == 0 for row in passes)
    assert found["total_forwards"] == sum(row.num_forwards for row in passes)
    assert found["timing"]["seconds"] == sum(row.seconds for row in passes)
    for rule, entry in found["rules"].items():
        own = [row for row in rows if row.rule == rule]
        radii = np.array([row.radius if row.correct and row.abstained is None else -1.0 for row in own])
        assert entry["smoothed_accuracy"] == sum(row.correct for row in own) / 300
        assert entry["abstention_rate"] == sum(row.abstained is not None for row in own) / 300
        assert entry["abstained"] == {f"reason {i}": sum(row.abstained == f"reason {i}" for row in own) for i in (0, 1)}
        assert entry["acr"] == float(np.maximum(radii, 0.0).mean())
        assert entry["acr_plug_in"] == sum(row.point_radius for row in own if row.correct) / 300
        assert entry["num_capped"] == sum(row.point_capped for row in own if row.correct)
        for point, radius in zip(entry["certified_accuracy"], [0.0, 0.01], strict=True):
            assert point["value"] == (radii > radius).sum() / 300
            totals = np.array([(radii > radius)[[row.speaker == f"s{i:02}" for row in own]].sum() for i in range(23)])
            counts = np.array([sum(row.speaker == f"s{i:02}" for row in own) for i in range(23)])
            draws = np.random.default_rng(0)
            drawn = [draws.integers(23, size=23) for _ in range(1000)]
            bounds = np.quantile([totals[one].sum() / counts[one].sum() for one in drawn], [0.025, 0.975])
            assert [point["low_speakers"], point["high_speakers"]] == bounds.tolist()
    assert json.loads(json.dumps(found)) == found
