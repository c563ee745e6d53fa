"""Lists of trials about the speakers of a manifest, and what is wrong with a list."""

import shutil

import pytest
import soundfile

from voxcert.data import Manifest, SpeakerDataModule, Trial, listed


@pytest.fixture
def data(tmp_path, write_audio):
    """Anna, ben and cleo are tested, with three recordings each; dora and emil are trained on."""
    lines = ["path,speaker,part,id"]
    for speaker in ("anna", "ben", "cleo", "dora", "emil"):
        part = "train" if speaker in ("dora", "emil") else "test"
        for take in range(3):
            path = write_audio(f"{speaker}/{take}.wav")
            lines.append(f"{path.relative_to(tmp_path)},{speaker},{part},{speaker}/{take}")
    (tmp_path / "list.csv").write_text("\n".join(lines))
    corpus = Manifest(str(tmp_path / "list.csv"))
    return SpeakerDataModule(corpus, test_parts=["test"], num_enroll=1, crop_seconds=0.5, max_test_utterances=1)


def write(tmp_path, *lines):
    path = tmp_path / "trials.txt"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_recordings_enrol_alone_and_nothing_else_is_tested(data, tmp_path):
    found = listed(data, write(tmp_path, "1 anna/0.wav anna/1.wav", "0 anna/0.wav ben/2.wav", "0 cleo/1.wav ben/2.wav"))
    assert found.trials[0] == Trial("anna/0", "anna/1", True)
    assert found.voices == {"anna/0": "anna", "cleo/1": "cleo"}
    assert [one.id for one in found.data.tested("test")] == ["anna/1", "ben/2"], "whatever max_test_utterances is"
    enrolled = [name for batch in found.data.enrollment_dataloader("test") for name in batch["speaker"]]
    assert enrolled == ["anna/0", "cleo/1", "dora", "emil"], "distractors are enrolled as before"
    assert len(data.tested("test")) == 1, "the data module itself is what it was"
    roles = {(one.role, one.id) for one in found.data.plan("test")}
    assert {("enrol", "anna/0"), ("test", "anna/1")} <= roles


def test_speakers_are_enrolled_with_what_the_data_enrol(data, tmp_path):
    (enrolling,) = [one.id for one in data.split.test.enroll if one.speaker == "anna"]
    free = next(name for name in ("anna/0", "anna/1") if name != enrolling)
    found = listed(data, write(tmp_path, f"anna {free} target", "anna ben/0 nontarget", "dora ben/0 nontarget"))
    assert found.voices == {}
    assert [one.id for one in found.data.split.test.enroll if one.speaker == "anna"] == [enrolling]
    assert sorted({one.speaker for one in found.data.split.test.enroll}) == ["anna", "dora", "emil"]
    with pytest.raises(ValueError, match=f"must not have the same audio on both sides, got 1 .* anna {enrolling} targ"):
        listed(data, write(tmp_path, f"anna {enrolling} target", "anna ben/0 nontarget"))


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["1 anna/0 anna/1", "1 anna/0 x", "0 y ben/0"], r"txt:2: .* got 'x' \(0 match\); .*txt:3: .* got 'y'"),
        ([f"1 anna/0 x{i}" for i in range(7)], r"got 'x4' \(0 match\) and 2 more$"),
        (["1 anna/0 anna/1", "0 ben/0 dora/1"], "must be about tested speakers and their recordings, .*: dora/1$"),
        (["1 anna/0 anna/1", "0 dora/0 ben/1"], "must be about tested speakers and their recordings, .*: dora/0$"),
        (["1 anna/0 anna/1", "0 anna/0 ben/0", "1 anna/0 anna/1.wav"], "must be listed once, got 1 .*: anna/0 anna/1"),
        (["1 anna/0 anna/1", "0 anna/0 anna/1"], "must not contradict each other, got 1 .*: anna/0 anna/1$"),
        (["1 anna/0 ben/1", "0 anna/0 cleo/1"], r"must have the labels .*: anna/0 ben/1 target \('ben' speaks\)$"),
        (["0 anna/0 anna/1", "1 ben/0 ben/1"], r"must have the labels .*: anna/0 anna/1 nontarget \('anna' speaks\)$"),
        (
            ["1 anna/0 anna/0", "0 anna/0 ben/1"],
            "must not have the same audio on both sides, .*: anna/0 anna/0 target$",
        ),
        (["1 anna/0 anna/1"], "trials must be of both kinds, got 1 target and 0 nontarget"),
        ([""], "a list of trials must have a line or more, got none"),
    ],
)
def test_refuses_lists_that_would_mislead(data, tmp_path, lines, message):
    with pytest.raises(ValueError, match=message):
        listed(data, write(tmp_path, *lines))


@pytest.mark.parametrize("kind", ["bytes", "container"])
def test_finds_copies_on_both_sides(data, tmp_path, kind):
    both = SpeakerDataModule(data.corpus, test_parts=["test"], num_enroll=2)
    first, second = [one for one in both.split.test.enroll if one.speaker == "anna"]  # copies that only enrol may stay
    samples, rate = soundfile.read(first.path, dtype="int16")
    if kind == "bytes":
        shutil.copy(first.path, second.path)
    else:
        soundfile.write(second.path, samples, rate, format="FLAC")
    trials = write(tmp_path, f"1 {first.id} {second.id}", f"0 {first.id} ben/1")
    with pytest.raises(ValueError, match=f"the same audio on both sides, got 1 .*: {first.id} {second.id} target$"):
        listed(SpeakerDataModule(data.corpus, test_parts=["test"], num_enroll=2), trials)
