import random
from collections import Counter
from dataclasses import replace

import pytest

from voxcert.data import (
    LibriSpeech,
    Utterance,
    cut,
    enrollment_only,
    split_enrollment,
)
from voxcert.data.enrollment import balanced_subset, pieces, untested


def recordings(speaker, count, seconds=10.0):
    """Utterances without files: an end is given, so no header is read."""
    return [Utterance(f"{speaker}/{i}", f"{speaker}/{i}.wav", speaker, 0.0, seconds) for i in range(count)]


def overlap(first, second):
    return first.path == second.path and first.start < second.end and second.start < first.end


def test_cut():
    (one,) = recordings("anna", 1, seconds=10.5)
    segments = cut(one, 3.0)
    assert [(segment.start, segment.end) for segment in segments] == [(0, 3), (3, 6), (6, 9)]
    assert segments[1].id == "anna/0@3.00-6.00"
    assert cut(one, 3.5)[-1].end == 10.5
    assert cut(one, 8.0) == cut(one, 20.0) == [one]
    (later,) = cut(segments[1], 3.0)
    assert later == segments[1]


def test_cut_reads_the_length_of_a_file(write_audio):
    one = Utterance("a", write_audio("a.wav", seconds=1.0), "anna", start=0.1)
    assert [piece.end for piece in cut(one, 0.3)] == pytest.approx([0.4, 0.7, 1.0])
    assert [len(piece.load()) for piece in cut(one, 0.3)] == [4800, 4800, 4800]


def test_what_cannot_be_read_stays_whole(write_audio, tmp_path):
    one = Utterance("a", write_audio("a.wav", seconds=1.0), "anna")
    assert pieces(one, 0.3) == cut(one, 0.3)
    lost = replace(one, path=tmp_path / "lost.wav")
    assert pieces(lost, 0.3) == [lost]


@pytest.mark.parametrize("end", [1.2, 4500.0, 1e300])
def test_what_ends_behind_its_file_is_not_cut(write_audio, end):
    one = Utterance("a", write_audio("a.wav", seconds=1.0), "anna", end=end)
    assert cut(one, 0.3) == [one]
    assert len(cut(replace(one, end=1.04), 0.3)) == 3


@pytest.mark.parametrize("unit", ["auto", "utterance"])
def test_by_utterance(unit):
    enroll, test = split_enrollment(recordings("anna", 10) + recordings("ben", 6), 5, unit=unit)
    assert Counter(one.speaker for one in enroll) == {"anna": 5, "ben": 5}
    assert Counter(one.speaker for one in test) == {"anna": 5, "ben": 1}
    assert not {one.path for one in enroll} & {one.path for one in test}


def test_auto_leaves_one_to_test():
    enroll, test = split_enrollment(recordings("anna", 3), 5)
    assert (len(enroll), len(test)) == (2, 1)
    enroll, test = split_enrollment(recordings("anna", 1), 5)
    assert (len(enroll), len(test)) == (2, 1)
    assert not any(overlap(a, b) for a in enroll for b in test)
    enroll, test = split_enrollment(recordings("anna", 1, seconds=40), 5)
    assert (len(enroll), len(test)) == (5, 8)


def test_by_segment_prefers_other_recordings():
    enroll, test = split_enrollment(recordings("anna", 3), 4, unit="segment")
    assert len(enroll) == 4
    assert len(test) == 3
    assert not {one.path for one in enroll} & {one.path for one in test}
    enroll, test = split_enrollment(recordings("anna", 2), 4, unit="segment")
    assert len(test) == 2
    assert not any(overlap(a, b) for a in enroll for b in test)


@pytest.mark.parametrize("unit", ["auto", "utterance", "segment"])
def test_a_speaker_does_not_depend_on_order_or_others(unit):
    everyone = [one for name in ("anna", "ben", "zoë") for one in recordings(name, 8)]
    shuffled = random.Random(1).sample(everyone, len(everyone))
    settings = {"num_enroll": 4, "unit": unit, "seed": 3}
    enroll, test = split_enrollment(everyone, **settings)
    assert (enroll, test) == split_enrollment(shuffled, **settings)
    alone = split_enrollment(recordings("ben", 8), **settings)
    assert alone == tuple([one for one in part if one.speaker == "ben"] for part in (enroll, test))
    assert enroll != split_enrollment(everyone, **settings | {"seed": 4})[0]


def test_too_little_material_is_named():
    with pytest.raises(ValueError, match="speaker 'ben' needs at least 6 utterances to enrol and test, got 4"):
        split_enrollment(recordings("anna", 9) + recordings("ben", 4), 5, unit="utterance")
    with pytest.raises(ValueError, match="speaker 'anna' needs at least 6 segments of 3 seconds .* got 3"):
        split_enrollment(recordings("anna", 1), 5, unit="segment")
    with pytest.raises(ValueError, match="speaker 'anna' needs at least 2 segments of 6 seconds .* got 1"):
        split_enrollment(recordings("anna", 1), 5, segment_seconds=6.0)
    with pytest.raises(ValueError, match="num_enroll must be positive, got 0"):
        split_enrollment([], 0)
    with pytest.raises(ValueError, match="segment_seconds must be positive, got -1"):
        split_enrollment([], 1, segment_seconds=-1)


def test_what_is_neither_enrolled_nor_tested_is_told():
    (long,) = recordings("anna", 1, seconds=20.0)
    stretches = [replace(long, id=f"{i}", start=float(i), end=i + 1.0) for i in range(20)]
    others = [replace(one, id=f"other {one.id}", path="other.wav") for one in stretches[:5]]
    for seed in range(6):
        enroll, test = split_enrollment(stretches + others, 3, seed=seed)
        left = untested(stretches + others, enroll, test)
        assert sorted(one.id for one in enroll + test + left) == sorted(one.id for one in stretches + others)
        alone = {one.path for one in enroll} == {long.path, "other.wav"}
        assert len(left) == (0 if alone else 17 if enroll[0].path == long.path else 2)
    for unit in ("utterance", "segment"):
        whole = recordings("anna", 5)
        assert untested(whole, *split_enrollment(whole, 2, unit=unit)) == [], "a part of each is used"


def test_enrollment_only_uses_what_is_there():
    chosen = enrollment_only(recordings("anna", 2) + recordings("ben", 9), 5)
    assert Counter(one.speaker for one in chosen) == {"anna": 2, "ben": 5}
    assert enrollment_only(recordings("ben", 9), 5) == [one for one in chosen if one.speaker == "ben"]


def test_balanced_subset():
    everyone = recordings("anna", 9) + recordings("ben", 2) + recordings("zoë", 9)
    counts = Counter(one.speaker for one in balanced_subset(everyone, 8))
    assert counts == {"anna": 3, "ben": 2, "zoë": 3}
    assert balanced_subset(everyone, 8) == balanced_subset(everyone[::-1], 8)
    assert balanced_subset(everyone, 8) != balanced_subset(everyone, 8, seed=1)
    assert set(balanced_subset(everyone, 7)) < set(balanced_subset(everyone, 8))
    assert len(balanced_subset(everyone, 100)) == 20


def test_one_setting_suits_both_parts_of_librispeech(librispeech):
    known = LibriSpeech(librispeech, ["test-other"]).utterances()
    enroll, test = split_enrollment(known, 5)
    assert set(Counter(one.speaker for one in enroll).values()) == {5}
    assert set(Counter(one.speaker for one in test).values()) == {5}
    single = [one for one in LibriSpeech(librispeech, ["train-clean-100"]).utterances() if one.speaker == "83"]
    enroll, test = split_enrollment(single, 5)
    assert (len(enroll), len(test)) == (2, 1)
