from dataclasses import replace

import pytest

from voxcert.data import Utterance
from voxcert.data.splits import Protocol, split_speakers

PROTOCOL = Protocol(num_enroll=2, enroll_unit="auto", segment_seconds=3.0, distractors=True, seed=0)


def corpus(parts, per_speaker=4):
    """Utterances without files: `parts` maps a part to its speakers' names."""
    return [
        Utterance(f"{part}/{speaker}/{i}", f"{part}/{speaker}/{i}.wav", speaker, 0.0, 5.0, part=part)
        for part, speakers in parts.items()
        for speaker in speakers
        for i in range(per_speaker)
    ]


def divide(utterances, protocol=PROTOCOL, **changes):
    settings = {"train_parts": None, "test_parts": None, "num_val_speakers": 0, "num_test_speakers": 0}
    return split_speakers(utterances, protocol, **settings | changes)


def names(utterances):
    return {one.speaker for one in utterances}


def test_parts():
    everyone = corpus({"a": "abcdef", "b": "xyz", "c": "pq"})
    split = divide(everyone, test_parts=["b"], num_val_speakers=2)
    assert names(split.test.test) == set("xyz")
    assert len(names(split.val.test)) == 2
    assert names(split.train) == set("abcdefpq") - names(split.val.test)
    assert names(split.test.enroll) == set("abcdefpqxyz")
    assert names(split.val.enroll) == set("abcdefpq")
    assert names(divide(everyone, train_parts=["a"], test_parts=["b"]).train) == set("abcdef")


def test_held_out_speakers_are_apart_and_seeded():
    everyone = corpus({"": "abcdefghij"})
    split = divide(everyone, num_val_speakers=3, num_test_speakers=2)
    val, test, train = names(split.val.test), names(split.test.test), names(split.train)
    assert (len(val), len(test), len(train)) == (3, 2, 5)
    assert val.isdisjoint(test)
    assert train.isdisjoint(val | test)
    assert divide(everyone[::-1], num_val_speakers=3, num_test_speakers=2) == split
    assert names(divide(everyone, num_test_speakers=2).test.test) == test
    other = Protocol(2, "auto", 3.0, True, seed=5)
    assert names(divide(everyone, other, num_val_speakers=3, num_test_speakers=2).val.test) != val


def test_no_material_both_enrols_and_tests():
    split = divide(corpus({"": "abcdef"}), num_val_speakers=2, num_test_speakers=2)
    for evaluation in (split.val, split.test):
        assert not {one.path for one in evaluation.enroll} & {one.path for one in evaluation.test}


def test_without_distractors_only_the_tested_enrol():
    alone = Protocol(2, "auto", 3.0, distractors=False, seed=0)
    split = divide(corpus({"": "abcdef"}), alone, num_val_speakers=2)
    assert names(split.val.enroll) == names(split.val.test)
    assert split.test.enroll == []


def test_what_enrols_the_tested_may_be_trained_on_and_nothing_else_of_theirs():
    everyone = corpus({"a": "abcd", "b": "xy"})
    plain = divide(everyone, test_parts=["b"], num_val_speakers=1)
    split = divide(everyone, test_parts=["b"], num_val_speakers=1, train_on_enrollment=True)
    own = [one for one in split.test.enroll if one.speaker in "xy"]
    assert len(own) == 4
    assert split.train == plain.train + own
    assert (split.val, split.test) == (plain.val, plain.test)
    assert not set(split.train) & set(split.test.test)


def test_speakers_with_too_little_material_train_instead():
    everyone = corpus({"": "abc"}) + corpus({"": "xyz"}, per_speaker=1)
    split = divide(everyone, num_val_speakers=3)
    assert names(split.val.test) == set("abc")
    with pytest.raises(ValueError, match=r"num_val_speakers must be in \[0, 3\], got 4: no more of the 6 speakers"):
        divide(everyone, num_val_speakers=4)


def test_utterances_that_are_not_tested_are_counted():
    files = corpus({"a": "x", "b": "yz"}, per_speaker=2)
    stretches = [replace(one, id=f"{one.id}@{i}", start=float(i), end=i + 1.0) for one in files for i in range(3)]
    single = Protocol(1, "auto", 3.0, True, seed=0)
    split = divide(stretches, single, test_parts=["a"], num_val_speakers=1)
    assert (len(split.test.test), len(split.val.test)) == (3, 3)
    (enrols,) = [one for one in split.test.enroll if one.speaker == "x"]
    assert split.note.startswith(f"4 utterances lie in files that enrol and are not tested, such as {enrols.path} (x, ")
    assert divide(files, single, test_parts=["a"], num_val_speakers=1).note == ""


@pytest.mark.parametrize("asked", [(5, "auto"), ("auto", 5), ("auto", 4), (4, "auto")])
def test_auto_beside_a_number_that_leaves_nobody_is_refused(asked):
    val, test = asked
    reason = f"num_val_speakers and num_test_speakers must leave a speaker for .auto., .* got {val} and {test}, of 6 "
    with pytest.raises(ValueError, match=reason):
        divide(corpus({"": "abcdef"}), num_val_speakers=val, num_test_speakers=test)


@pytest.mark.parametrize(
    ("asked", "held_out"),
    [
        ((3, "auto"), (3, 1)),
        (("auto", 3), (1, 3)),
        ((0, "auto"), (0, 1)),
        (("auto", 0), (1, 0)),
        (("auto",) * 2, (1, 1)),
    ],
)
def test_auto_beside_a_number(asked, held_out):
    split = divide(corpus({"": "abcdef"}), num_val_speakers=asked[0], num_test_speakers=asked[1])
    assert (len(names(split.val.test)), len(names(split.test.test))) == held_out


def test_auto_holds_out_for_both_purposes_where_few_speakers_have_enough():
    few = corpus({"": "abc"}) + corpus({"": "ghijklmnopqrstu"}, per_speaker=1)
    split = divide(few, num_val_speakers="auto", num_test_speakers="auto")
    assert (len(names(split.val.test)), len(names(split.test.test))) == (1, 2)


def test_nobody_is_not_advised_to_test_nobody():
    with pytest.raises(ValueError, match="got 0, 0 of them with enough; 2 speakers with enough material are the least"):
        divide([], num_val_speakers="auto", num_test_speakers="auto")


def test_speakers_on_both_sides_are_announced():
    both = corpus({"a": "abc", "b": "cd"})
    with pytest.warns(UserWarning, match="1 speakers of test_parts are trained on too, such as 'c'"):
        split = divide(both, train_parts=["a"], test_parts=["b"])
    own = [one for one in split.test.enroll if one.speaker == "c"]
    assert len(own) == 2
    assert {one.part for one in own} == {"b"}


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"train_parts": ["x"]}, r"train_parts must be among the corpus's parts \['a', 'b'\], got \['x'\]"),
        ({"test_parts": ["c", "a"]}, r"test_parts must be among .* got \['c'\]"),
        ({"train_parts": []}, r"train_parts must be among .* got \[\]"),
        ({"train_parts": ["a"], "test_parts": ["a"]}, r"must not overlap, both have \['a'\]"),
        ({"test_parts": ["b"], "num_test_speakers": 1}, "num_test_speakers must be 0 when test_parts are given, got 1"),
        ({"num_val_speakers": 6}, r"num_val_speakers must be in \[0, 5\], got 6: no more of the 5 speakers"),
        ({"num_val_speakers": 3, "num_test_speakers": 3}, r"num_val_speakers must be in \[0, 2\], got 3"),
        ({"num_test_speakers": 9}, r"num_test_speakers must be in \[0, 5\], got 9"),
    ],
)
def test_impossible_divisions_are_named(settings, reason):
    with pytest.raises(ValueError, match=reason):
        divide(corpus({"a": "abcd", "b": "x"}), **settings)
