from dataclasses import replace

import pytest

from voxcert.data import (
    Manifest,
    SpeakerDataModule,
    check_labels,
    check_plan,
    plan_hash,
    planned,
    read_plan,
    write_plan,
)
from voxcert.data.identity import labels_hash


@pytest.fixture
def data(tmp_path, write_audio):
    """Make a data module over a manifest of three speakers with three files each, after a change of its rows."""
    names = [f"{speaker}/{number}.wav" for speaker in ("s1", "s2", "s3") for number in range(3)]
    for name in names:
        write_audio(name)

    def make(change=lambda rows: rows):
        rows = change([f"{name},{name[:2]}" for name in names])
        (tmp_path / "list.csv").write_text("\n".join(["path,speaker", *rows]) + "\n")
        corpus = Manifest(str(tmp_path / "list.csv"))
        return SpeakerDataModule(corpus, num_test_speakers=len({row[-2:] for row in rows}), num_enroll=2)

    return make


def plans_apart(data, change):
    before = data().plan("test")
    return before, data(change).plan("test")


def test_the_same_data_are_the_same_run(data, tmp_path):
    plan = data().plan("test")
    assert [item.role for item in plan].count("enrol") == 6
    assert len(plan) == 9
    assert plan_hash(plan) == plan_hash(data(lambda rows: rows[::-1]).plan("test"))
    check_plan(plan, data().plan("test"), "runs/x")
    write_plan(plan, tmp_path / "plan.jsonl")
    assert read_plan(tmp_path / "plan.jsonl") == plan


def test_another_speaker_is_named(data):
    before, now = plans_apart(data, lambda rows: [row.replace("s1/0.wav,s1", "s1/0.wav,s2") for row in rows])
    assert plan_hash(before) != plan_hash(now)
    with pytest.raises(ValueError, match=r"runs/x was made with other data: .*'s1/0.wav' .*Choose another output_dir"):
        check_plan(before, now, "runs/x")


def test_new_and_gone_utterances_are_named(data, write_audio):
    write_audio("s1/9.wav")
    before, now = plans_apart(data, lambda rows: [*rows[1:], "s1/9.wav,s1"])
    with pytest.raises(ValueError, match=r"new: .*'s1/9.wav' .*gone: .*'s1/0.wav' "):
        check_plan(before, now, "runs/x")


def test_other_audio_under_the_same_name_is_named(data, write_audio):
    before = data().plan("test")
    write_audio("s2/1.wav", seconds=0.6)
    now = data().plan("test")
    with pytest.raises(ValueError, match=r"1 changed: 's2/1.wav' \((enrol|test)\): other audio"):
        check_plan(before, now, "runs/x")


@pytest.mark.parametrize(
    "change", [{"start": 0.1}, {"end": 0.3}, {"speaker": "s9"}, {"part": "x"}, {"channel": 0}, {"content": "0"}]
)
def test_everything_counts(data, change):
    plan = data().plan("test")
    other = [replace(plan[0], **change), *plan[1:]]
    assert plan_hash(other) != plan_hash(plan)
    with pytest.raises(ValueError, match="1 changed: "):
        check_plan(plan, other, "runs/x")
    swapped = [replace(plan[0], role="test"), *plan[1:]]
    assert plan_hash(swapped) != plan_hash(plan)


def test_what_is_said_counts_where_it_is_asked_for(data, tmp_path):
    utterances = data().split.test.test
    others = [replace(utterances[0], text="other words"), *utterances[1:]]
    plan, other = planned([], utterances), planned([], others)
    assert plan == other
    write_plan(plan, tmp_path / "plan.jsonl")
    assert '"text"' not in (tmp_path / "plan.jsonl").read_text(), "such plans are what they were before"
    read, told = planned([], utterances, texts=True), planned([], others, texts=True)
    assert len({plan_hash(plan), plan_hash(read), plan_hash(told)}) == 3
    with pytest.raises(ValueError, match=r"1 changed: .*another text\. "):
        check_plan(read, told, "runs/x")
    check_plan(read_plan(tmp_path / "plan.jsonl"), told, "a run from before texts were noted")
    write_plan(told, tmp_path / "plan.jsonl")
    assert read_plan(tmp_path / "plan.jsonl") == told


def test_long_lists_are_shortened(data):
    plan = data().plan("test")
    with pytest.raises(ValueError, match="9 gone: .* and 4 more"):
        check_plan(plan, [], "runs/x")


def test_a_file_that_is_gone_is_a_change(data, tmp_path):
    utterances = data().split.test.test
    before = planned([], utterances)
    utterances[0].path.unlink()
    with pytest.raises(ValueError, match="1 changed: .*other audio"):
        check_plan(before, planned([], utterances), "runs/x")


def test_a_torn_plan_is_named(tmp_path):
    (tmp_path / "plan.jsonl").write_text('{"role": "test"}\n')
    with pytest.raises(ValueError, match="plan.jsonl:1: must be a planned utterance"):
        read_plan(tmp_path / "plan.jsonl")


def test_classes_of_the_data(data):
    module = data(lambda rows: rows)
    module.num_test_speakers, module.speed_factors = 1, [1.0, 0.9]
    speakers = module.train_dataloader().dataset.speakers
    slow = {f"{speaker} at speed 0.9": 2 + place for speaker, place in speakers.items()}
    assert module.classes == speakers | slow
    assert sorted(module.classes.values()) == list(range(module.num_classes))
    check_labels(module.classes, dict(module.classes))


@pytest.mark.parametrize(
    ("now", "reason"),
    [
        ({"anna": 0, "ben": 1, "carl": 2, "dora": 3}, "1 new: 'dora'"),
        ({"anna": 0, "ben": 1}, "1 gone: 'carl'"),
        ({"aaron": 0, "anna": 1, "carl": 2}, "1 gone: 'ben'; 1 new: 'aaron'; 1 moved: 'anna' was class 0 and is 1"),
        ({"ben": 0, "anna": 1, "carl": 2}, "2 moved: 'anna' was class 0 and is 1, 'ben' was class 1 and is 0"),
    ],
)
def test_other_speakers_are_refused_with_the_way_out(now, reason):
    before = {"anna": 0, "ben": 1, "carl": 2}
    with pytest.raises(ValueError, match=f"must be those of the checkpoint.*{reason}.*init_from"):
        check_labels(before, now)


def test_labels_are_told_apart_by_their_hash():
    labels = {"anna": 0, "zoë": 1}
    assert labels_hash(labels) == labels_hash({"zoë": 1, "anna": 0})
    for other in ({"anna": 1, "zoë": 0}, {"anna": 0, "zoe": 1}, {"anna": 0}):
        assert labels_hash(other) != labels_hash(labels)
