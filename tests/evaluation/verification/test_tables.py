import math
from dataclasses import replace

import pytest

from voxcert.evaluation.verification.figures import error_rate_figure
from voxcert.evaluation.verification.tables import summarize_trials, trials_statement, trials_table
from voxcert.smoothing import CertifiedScore, wilson_interval

RADII = [0.0, 0.1]


def trial(speaker, claim, lower, upper, **changes):
    values = {
        "utterance": f"{speaker}0",
        "speaker": speaker,
        "claim": claim,
        "verifier": "embedding",
        "open_set": False,
        "enrolled": True,
        "score": (lower[0] + upper[0]) / 2,
        "radii": RADII,
        "lower": lower,
        "upper": upper,
        "failed": None,
        "sigma": 0.1,
        "alpha": 1e-3,
        "num_select": 10,
        "num_estimate": 100,
        "num_forwards": 110,
        "seconds": 1.0,
        "seed": 0,
        "waveform_norm": 3.0,
    }
    return CertifiedScore(**values | changes)


ROWS = [
    trial("a", "a", [0.7, 0.5], [0.8, 0.9]),
    trial("b", "b", [0.6, 0.2], [0.7, 0.9]),
    trial("a", "b", [0.0, -0.2], [0.1, 0.3]),
    trial("b", "a", [0.1, -0.1], [0.2, 0.4]),
]


def test_a_genuine_trial_counts_with_its_lower_and_an_impostor_with_its_upper_bound():
    summary = summarize_trials(ROWS, threshold=0.35)["embedding"]
    none, some = summary["rates"]
    assert (none["eer"], none["frr"], none["far"]) == (0.0, 0.0, 0.0)
    assert (some["eer"], some["frr"], some["far"]) == (0.5, 0.5, 0.5)
    assert some["min_dcf"] == pytest.approx(0.5), "at 0.45: half of the genuine trials are rejected, nobody accepted"
    assert summary["smoothed_eer"] == 0.0
    assert (summary["num_genuine"], summary["num_impostor"], summary["num_speakers"]) == (2, 2, 2)


def test_rates_are_those_at_the_threshold_as_it_is_printed():
    rows = [trial("a", "a", [0.50001] * 2, [0.50001] * 2), trial("a", "b", [0.40002] * 2, [0.40002] * 2)]
    entry = summarize_trials(rows)["embedding"]
    assert entry["threshold"] == 0.45
    assert "at the threshold 0.45, which" in trials_statement(summarize_trials(rows), rows, False)


def test_intervals_are_over_speakers():
    many = [row for row in ROWS for _ in range(50)]  # fifty times the same is no more evidence
    (few, often) = (summarize_trials(rows, 0.35)["embedding"]["rates"][1] for rows in (ROWS, many))
    assert (few["frr_low"], few["frr_high"]) == (often["frr_low"], often["frr_high"]) == wilson_interval(1, 2)
    alone = [trial("a", "a", [0.7, 0.5], [0.8, 0.9]), trial("a", "b", [0.0, -0.2], [0.1, 0.3])]
    assert summarize_trials(alone)["embedding"]["rates"][0]["eer_low"] is None


def test_in_an_open_set_who_is_taken_for_another_is_an_error_at_every_threshold():
    rows = [
        trial("a", "b", [0.9, 0.8], [1.0, 1.0], open_set=True),
        trial("b", "b", [0.9, 0.8], [1.0, 1.0], open_set=True),
        trial("x", "b", [-1.0, -1.0], [0.2, 0.3], open_set=True, enrolled=False),
    ]
    summary = summarize_trials(rows, threshold=0.5)["embedding"]
    assert (summary["num_genuine"], summary["num_impostor"]) == (2, 1)
    assert [(rate["frr"], rate["far"]) for rate in summary["rates"]] == [(0.5, 0.0)] * 2


def normalised(rows, maps):
    return [replace(row, norm_mean=maps[row.claim][0], norm_deviation=maps[row.claim][1]) for row in rows]


def test_one_map_for_all_claims_changes_no_rate_that_needs_no_threshold():
    plain = summarize_trials(ROWS)["embedding"]
    same = summarize_trials(normalised(ROWS, {"a": (0.0, 1.0), "b": (0.0, 1.0)}))["embedding"]
    assert same == plain
    moved = summarize_trials(normalised(ROWS, {"a": (0.1, 0.2), "b": (0.1, 0.2)}))["embedding"]
    assert moved["threshold"] == pytest.approx((plain["threshold"] - 0.1) / 0.2)
    for before, after in zip(plain["rates"], moved["rates"], strict=True):
        assert {name: after[name] for name in ("eer", "frr", "far", "min_dcf")} == {
            name: before[name] for name in ("eer", "frr", "far", "min_dcf")
        }


def test_the_sentence_says_that_scores_are_normalised():
    rows = normalised(ROWS, {"a": (0.1, 0.2), "b": (0.1, 0.2)})
    said = trials_statement(summarize_trials(rows, 1.25), rows, given=True)
    assert "Proved at the threshold 1.25 of scores normalised by a cohort for the embedding verifier" in said


def test_maps_of_their_own_part_what_one_threshold_cannot():
    rows = [
        trial("a", "a", [0.7] * 2, [0.7] * 2),
        trial("b", "a", [0.5] * 2, [0.5] * 2),  # everybody sounds like a
        trial("b", "b", [0.4] * 2, [0.4] * 2),
        trial("a", "b", [0.1] * 2, [0.1] * 2),
    ]
    assert summarize_trials(rows)["embedding"]["rates"][0]["eer"] == 0.5
    maps = {"a": (0.5, 0.1), "b": (0.1, 0.1)}
    assert [row.bound(0) for row in normalised(rows, maps)] == pytest.approx([2, 0, 3, 0])
    assert summarize_trials(normalised(rows, maps))["embedding"]["rates"][0]["eer"] == 0.0


def test_what_failed_is_an_error_under_any_map():
    lost = replace(ROWS[0], failed="unreadable", lower=[-1.0] * 2, upper=[1.0] * 2)
    rows = normalised([lost, *ROWS[1:]], {"a": (0.2, 0.1), "b": (0.3, 0.2)})
    entry = summarize_trials(rows)["embedding"]
    assert entry["smoothed_eer"] == 0.5
    assert entry["rates"][0]["frr"] == 0.5


@pytest.mark.parametrize("claim", ["a", "b"])
def test_what_failed_is_proved_at_no_threshold_whatever_the_cohort(claim):
    """Of a cosine of 1, say, normalised to 1, thresholds above would count an impostor as proved to be rejected."""
    lost = trial("a", claim, [-1.0] * 2, [1.0] * 2, failed="unreadable", score=0.0)
    rows = normalised([*ROWS, *[lost] * 2], {"a": (0.8, 0.2), "b": (0.5, 0.5)})
    name = "frr" if claim == "a" else "far"
    for threshold in (-100.0, 0.0, 1.5, 100.0):
        for rate in summarize_trials(rows, threshold)["embedding"]["rates"]:
            assert rate[name] >= 0.5
    entry = summarize_trials(rows)["embedding"]
    assert entry["smoothed_eer"] == 0.5, "at the best threshold the others are right, and these wrong all the same"
    assert abs(entry["threshold"]) < 10
    assert entry["rates"][0]["min_dcf"] <= 1.0
    assert error_rate_figure(rows, summarize_trials(rows)).axes


def test_a_claim_that_is_a_recording_is_genuine_if_the_same_voice_speaks_there():
    mine, other = trial("a", "a9", [0.7] * 2, [0.8] * 2, voice="a"), trial("a", "b9", [0.7] * 2, [0.8] * 2, voice="b")
    assert (mine.target, other.target) == (True, False)
    assert (mine.bound(0), other.bound(0)) == (0.7, 0.8)


def test_table_and_sentence():
    summary = summarize_trials(ROWS, 0.35)
    lines = trials_table(summary).splitlines()
    assert len(lines) == 5
    assert "| embedding | 0.1 " in lines[-1]
    assert "50.0 [" in lines[-1]
    said = trials_statement(summary, ROWS, given=True)
    assert "Proved at the threshold 0.35 for the embedding verifier smoothed with sigma 0.1" in said
    assert "norm is at most 0, at most 0 of 2 genuine trials are rejected and at most 0 of 2 impostor" in said
    assert "which was taken from these very trials," in trials_statement(summary, ROWS, given=False)
    features = [replace(row, noise_at="features") for row in ROWS]
    assert "added to the features of the recordings (not to their waveforms)" in trials_statement(
        summary, features, True
    )
    named = [replace(row, open_set=True) for row in ROWS]
    assert "genuine trials are rejected or taken for another speaker" in trials_statement(summary, named, True)
    hopeless = [trial(row.speaker, row.claim, [-1.0, -1.0], [1.0, 1.0]) for row in ROWS]
    assert trials_statement(summarize_trials(hopeless, 0.3), hopeless, True).startswith("Nothing useful was proved")


def test_certified_rates_are_rounded_up():
    """One of 3,000 impostors is not proved to stay rejected: that is not none. What was sampled stays to nearest."""
    genuine = [trial("a", "a", [0.7, 0.6], [0.8, 0.9])] * 3
    impostors = [trial("b", "a", [0.1] * 2, [0.2] * 2)] * 2999 + [trial("b", "a", [0.1] * 2, [0.65] * 2)]
    *_, sampled, none, some = trials_table(summarize_trials([*genuine, *impostors], 0.5)).splitlines()
    assert [cell.strip() for cell in sampled.split("|")[3:4]] == ["0.0"]
    assert [cell.split()[0] for cell in none.split("|")[3:6]] == ["0.0", "0.0", "0.1"]
    assert [cell.split()[0] for cell in some.split("|")[3:7]] == ["0.1", "0.0", "0.1", "0.033"]


def test_every_verifier_shows_the_threshold_of_its_rates():
    vote = [trial(r.speaker, r.claim, [x - 0.1 for x in r.lower], r.upper, verifier="vote") for r in ROWS]
    summary = summarize_trials([*ROWS, *vote])
    first, second = (entry["threshold"] for entry in summary.values())
    assert first != second
    lines = trials_table(summary).splitlines()
    assert f"| embedding | no attack, as sampled; threshold {first} " in lines[2]
    assert f"| vote      | no attack, as sampled; threshold {second} " in lines[5]


def test_radii_are_rounded_down():
    """To nearest, 0.12345678 would be 0.123457, where nothing is proved."""
    rows = [replace(row, radii=[0.0, 0.12345678]) for row in ROWS]
    summary = summarize_trials(rows)
    assert trials_table(summary).splitlines()[-1].split("|")[2].strip() == "0.123456"
    _, right, *_ = error_rate_figure(rows, summary).axes
    assert [text.get_text() for text in right.get_legend().get_texts()] == ["0", "0.123456"]


def test_figure_has_a_curve_for_every_verifier_and_radius():
    rows = [*ROWS, *(trial(r.speaker, r.claim, r.lower, r.upper, verifier="vote") for r in ROWS)]
    left, right, *_ = error_rate_figure(rows, summarize_trials(rows)).axes
    assert [line.get_label() for line in left.get_lines()] == ["embedding", "vote"]
    assert list(left.get_lines()[0].get_ydata()) == [0.0, 50.0]
    assert left.get_lines()[0].get_drawstyle() == "steps-pre", (
        "between two radii what is proved at the larger one holds"
    )
    assert [text.get_text() for text in right.get_legend().get_texts()] == ["0", "0.1"]
    assert all(math.isfinite(x) for line in right.get_lines() for x in line.get_xdata())
    with pytest.raises(ValueError, match="rows must hold at least one trial, got none"):
        error_rate_figure([], {})
