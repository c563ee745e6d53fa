import math
import re

import lightning as L
import pytest
import soundfile
import torch

from voxcert.data import AudioError, LibriSpeech, SpeakerDataModule, SpeakerFolders


def silence(data, number=0):
    """Overwrite a file of the test split with nothing; return its utterance."""
    utterance = data.split.test.test[number]
    utterance.path.write_bytes(b"")
    return utterance


@pytest.fixture
def data(espeak):
    """Make a data module over six synthetic speakers: three to train, one to validate, two to test."""

    def make(corpus=espeak, **changes):
        sizes = {"num_val_speakers": 1, "num_test_speakers": 2, "num_enroll": 2, "batch_size": 4}
        return SpeakerDataModule(corpus, **sizes | changes)

    return make


@pytest.fixture
def folders(write_audio, tmp_path):
    """Six speakers with four second-long files each, to be damaged."""
    for speaker in "abcdef":
        for number in range(4):
            write_audio(f"{speaker}/{number}.wav", seconds=1.0)
    return SpeakerFolders(str(tmp_path))


def test_training_batches(data):
    module = data(speed_factors=[1.0, 0.9], crops_per_utterance=3)
    assert module.num_classes == 6
    loader = module.train_dataloader()
    batches = list(loader)
    assert len(batches) == len(loader) == 18
    assert {batch["waveform"].shape for batch in batches} == {(4, 32_000)}
    labels = torch.cat([batch["label"] for batch in batches])
    assert labels.dtype == torch.long
    assert torch.bincount(labels).tolist() == [12] * 6


def test_the_last_batch_is_dropped_only_where_there_is_a_whole_one(data):
    assert [len(batch["label"]) for batch in data(batch_size=5).train_dataloader()] == [5, 5]
    assert [len(batch["label"]) for batch in data(batch_size=50).train_dataloader()] == [12]


def test_the_corpus_is_read_once(data, espeak, monkeypatch):
    module = data()
    module.train_dataloader()
    monkeypatch.setattr(espeak, "scan", lambda: [])
    assert module.num_classes == 3
    assert len(module.items("test")) == 4


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_seed_repeats_the_training_batches(data, num_workers):
    epochs = []
    for _ in range(2):
        L.seed_everything(7, workers=True, verbose=False)
        epochs.append(list(data(num_workers=num_workers).train_dataloader()))
    for first, second in zip(*epochs, strict=True):
        assert torch.equal(first["waveform"], second["waveform"])
        assert torch.equal(first["label"], second["label"])


@pytest.mark.parametrize("num_workers", [0, 2])
def test_evaluation_batches_do_not_depend_on_workers(data, num_workers):
    module = data(num_workers=num_workers)
    (batch,) = module.test_dataloader()
    items = [module.items("test")[i] for i in range(4)]
    assert batch["utterance"] == [item["utterance"] for item in items]
    assert batch["speaker"] == [item["speaker"] for item in items]
    assert torch.equal(batch["waveform"], torch.stack([item["waveform"] for item in items]))
    assert batch["waveform"].shape == (4, 48_000)


def test_enrollment_batches_hold_every_speaker(data):
    module = data()
    tested = {one.speaker for one in module.split.test.test}
    speakers = [name for batch in module.enrollment_dataloader("test") for name in batch["speaker"]]
    assert len(set(speakers)) == 6
    assert tested < set(speakers)
    assert speakers == [name for batch in module.enrollment_dataloader("test") for name in batch["speaker"]]
    alone = data(distractors=False).enrollment_dataloader("test")
    assert {name for batch in alone for name in batch["speaker"]} == tested


def test_enrollment_cuts_whole_recordings(data):
    module = data(crop_seconds=1.0)
    seconds = sum(int(len(one.load()) / 16_000) for one in module.split.val.enroll)
    assert sum(len(batch["speaker"]) for batch in module.enrollment_dataloader("val")) == seconds


def test_items_may_be_limited(data):
    module = data(max_test_utterances=3)
    names = [module.items("test")[i]["speaker"] for i in range(3)]
    assert len(module.items("test")) == 3
    assert len(set(names)) == 2
    assert len(data(max_test_utterances=100).items("test")) == 4


def test_stages_without_speakers(data):
    module = data(num_val_speakers=0, num_test_speakers=0)
    assert module.val_dataloader() == []
    with pytest.raises(ValueError, match="stage 'val' has no speakers: set num_val_speakers"):
        module.items("val")
    with pytest.raises(ValueError, match="stage 'test' has no speakers: set test_parts or num_test_speakers"):
        module.test_dataloader()
    with pytest.raises(ValueError, match="stage must be 'val' or 'test', got 'train'"):
        module.items("train")


def test_all_speakers_may_be_tested(data):
    module = data(num_val_speakers=0, num_test_speakers=6)
    assert len(module.items("test")) == 12
    with pytest.raises(ValueError, match="at least 2 speakers must be left to train, got 0"):
        _ = module.num_classes


def test_bad_audio_is_an_error(data, folders):
    module = data(folders)
    bad = silence(module)
    with pytest.raises(AudioError, match=f"{bad.path}: empty"):
        [module.items("test")[i] for i in range(4)]
    with pytest.raises(AudioError, match=f"{bad.path}: empty"):
        list(module.test_dataloader())


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_worker_names_a_bad_file_as_it_is(data, folders, num_workers):
    module = data(folders, num_workers=num_workers)
    bad = silence(module)
    with pytest.raises(AudioError) as caught:
        list(module.test_dataloader())
    assert str(caught.value) == f"{bad.path}: empty: the file has 0 bytes"


def test_bad_audio_is_skipped_with_its_reason(data, folders):
    module = data(folders, on_bad_audio="skip")
    bad = silence(module)
    items = [module.items("test")[i] for i in range(4)]
    assert [item["utterance"] for item in items if "error" in item] == [bad.id]
    with pytest.warns(UserWarning, match=f"1 utterances left out of test:\n{bad.path}: empty"):
        (batch,) = module.test_dataloader()
    assert len(batch["utterance"]) == 3


@pytest.mark.parametrize("tested", [True, False])
def test_bad_enrollment_is_skipped_unless_a_speaker_has_none(data, folders, tested):
    module = data(folders, on_bad_audio="skip")
    speaker = (module.split.test.test if tested else module.split.train)[0].speaker
    own = [one for one in module.split.test.enroll if one.speaker == speaker]
    own[0].path.write_bytes(b"")
    with pytest.warns(UserWarning, match=r"1 utterances left out of enrolment \(test\)"):
        loader = module.enrollment_dataloader("test")
    assert len(loader.dataset) == 11
    assert len(module.enrollment_dataloader("test").dataset) == 11  # and warns once
    own[1].path.write_bytes(b"")
    module = data(folders, on_bad_audio="skip")
    with (
        pytest.warns(UserWarning, match="2 utterances left out"),
        pytest.raises(ValueError, match=rf"must have readable enrolment audio, \['{speaker}'\] have none; .*check"),
    ):
        module.enrollment_dataloader("test")


def test_training_goes_on_without_a_bad_file(data, folders):
    module = data(folders, on_bad_audio="skip")
    module.split.train[0].path.unlink()
    with pytest.warns(UserWarning, match="left out of training"):
        assert sum(len(batch["label"]) for batch in module.train_dataloader()) == 12


@pytest.mark.parametrize(
    ("argument", "value", "allowed"),
    [
        ("crop_seconds", 0, "must be positive"),
        ("train_crop_seconds", -2.0, "must be positive"),
        ("crop_seconds", float("inf"), "must be positive and finite"),
        ("enroll_unit", "segments", "must be one of auto, utterance, segment"),
        ("num_enroll", 0, "must be at least 1"),
        ("batch_size", 0, "must be at least 1"),
        ("crops_per_utterance", 0, "must be at least 1"),
        ("num_workers", -1, "must be at least 0"),
        ("num_val_speakers", -1, "must be at least 0 .or auto."),
        ("num_test_speakers", "many", "must be at least 0 .or auto."),
        ("num_enroll", "auto", "must be at least 1"),
        ("max_test_utterances", 0, "must be at least 1"),
        ("speed_factors", [1.0, 0.0], r"must be one or more different numbers in \[0.1, 10\]"),
        ("speed_factors", [], "must be one or more different numbers"),
        ("speed_factors", [1.0, 1.0], "must be one or more different numbers"),
        ("speed_factors", [1.0, 1.004], "must be .* also as fractions with denominators of at most 100, got"),
        ("speed_factors", [math.nan], "must be one or more different numbers"),
    ],
)
def test_bad_arguments_are_named(data, argument, value, allowed):
    with pytest.raises(ValueError, match=f"{argument} {allowed}") as caught:
        data(**{argument: value})
    assert str(caught.value).endswith(f"got {value}")


def test_real_speech_under_one_setting(librispeech):
    module = SpeakerDataModule(
        LibriSpeech(librispeech), train_parts=["train-clean-100"], test_parts=["test-other"], num_val_speakers=11
    )
    assert module.num_classes == 190
    assert next(iter(module.train_dataloader()))["waveform"].shape == (64, 32_000)
    assert (len(module.items("val")), len(module.items("test"))) == (11, 50)
    for stage, num_speakers in (("val", 201), ("test", 211)):
        names = {one.speaker for one in module.enrollment_dataloader(stage).dataset.utterances}
        assert len(names) == num_speakers


def hollow_out(path, first, last):
    samples, rate = soundfile.read(path)
    samples[first:last] = 0
    soundfile.write(path, samples, rate)


def test_a_silent_test_crop_is_an_error_or_a_reason(data, folders):
    settings = {"crop_seconds": 0.4, "seed": 1}
    one = data(folders, **settings).split.test.test[0]
    hollow_out(one.path, 4000, 12_000)
    reason = f"{one.path}: the crop of 0.4 s that begins at 0.300 s: digitally silent"
    with pytest.raises(AudioError, match=reason):
        list(data(folders, **settings).test_dataloader())
    items = data(folders, on_bad_audio="skip", **settings).items("test")
    (error,) = [items[index]["error"] for index in range(len(items)) if "error" in items[index]]
    assert error.startswith(reason)


def test_a_silent_enrolment_segment_is_an_error_or_a_reason(data, folders):
    settings = {"crop_seconds": 0.4, "seed": 1}
    one = data(folders, **settings).split.test.enroll[0]
    hollow_out(one.path, 0, 6400)
    with pytest.raises(AudioError, match=f"{one.path}.*digitally silent"):
        list(data(folders, **settings).enrollment_dataloader("test"))
    module = data(folders, on_bad_audio="skip", **settings)
    with pytest.warns(UserWarning, match=f"1 utterances left out of enrolment .*\n{one.path}.*digitally silent"):
        assert len(module.enrollment_dataloader("test").dataset) == 23


@pytest.mark.parametrize(
    ("role", "kind"),
    [("enroll", "bytes"), ("train", "bytes"), ("test", "bytes"), ("enroll", "container"), ("test", "container")],
)
def test_copies_of_what_is_tested_are_refused(data, folders, role, kind):
    split = data(folders).split
    tested = split.test.test[0]
    others = {"enroll": split.test.enroll, "train": split.train, "test": split.test.test[1:]}[role]
    other = next(one for one in others if role == "train" or one.speaker == tested.speaker)
    if kind == "bytes":
        other.path.write_bytes(tested.path.read_bytes())
    else:
        samples, rate = soundfile.read(tested.path, dtype="int16")
        other.path.unlink()
        soundfile.write(other.path.with_suffix(".flac"), samples, rate)
    with pytest.raises(ValueError, match=r"are the same audio \(\d+ such pairs\): what is tested must not be enrolled"):
        data(folders).items("test")


def test_one_recording_of_two_speakers_is_refused(data, folders):
    train = data(folders).split.train
    other = next(one for one in train if one.speaker != train[0].speaker)
    other.path.write_bytes(train[0].path.read_bytes())
    with pytest.raises(ValueError, match="are the same audio .* has one speaker"):
        data(folders).train_dataloader()


@pytest.mark.parametrize("num_speakers", [3, 4, 12])
def test_held_out_speakers_are_worked_out_and_printed(write_audio, tmp_path, caplog, num_speakers):
    for speaker in range(num_speakers):
        for number in range(3):
            write_audio(f"{speaker:02d}/{number}.wav", seconds=1.0)
    caplog.set_level("INFO", logger="lightning.pytorch.utilities.rank_zero")
    module = SpeakerDataModule(
        SpeakerFolders(str(tmp_path)), num_val_speakers="auto", num_test_speakers="auto", num_enroll=3
    )
    expected = {3: (2, 1, 1), 4: (2, 1, 1), 12: (8, 2, 2)}[num_speakers]
    parts = module.split.train, module.split.val.test, module.split.test.test
    names = [{one.speaker for one in part} for part in parts]
    assert tuple(map(len, names)) == expected
    assert not names[0] & (names[1] | names[2])
    assert (names[1] == names[2]) == (num_speakers == 3)
    assert len(module.items("val")) > 0
    assert len(module.items("test")) > 0
    assert len({one.speaker for one in module.split.test.enroll}) == num_speakers
    (printed,) = [record.getMessage() for record in caplog.records]
    assert f"speakers: {expected[0]} train" in printed
    assert ("both validates and tests" in printed) == (num_speakers == 3)


def test_two_speakers_are_too_few_and_the_command_is_given(write_audio, tmp_path):
    for name in ("anna/a.wav", "anna/b.wav", "ben/a.wav", "ben/b.wav"):
        write_audio(name)
    corpus = SpeakerFolders(str(tmp_path))
    with pytest.raises(ValueError, match=r"needs 3 speakers .* --data.num_val_speakers 0 --data.num_test_speakers 2"):
        SpeakerDataModule(corpus, num_val_speakers="auto", num_test_speakers="auto").items("test")
    with pytest.raises(
        ValueError, match=r"num_test_speakers must be in \[0, 2\], got 5.* type --data.num_test_speakers 2"
    ):
        SpeakerDataModule(corpus, num_test_speakers=5).items("test")


@pytest.mark.parametrize("names", [("anna",), ("anna", "ben")])
def test_what_a_message_advises_works(write_audio, tmp_path, names):
    for name in names:
        write_audio(f"{name}/a.wav")
        write_audio(f"{name}/b.wav")
    corpus = SpeakerFolders(str(tmp_path))
    with pytest.raises(ValueError, match="needs 3 speakers") as error:
        SpeakerDataModule(corpus, num_val_speakers="auto", num_test_speakers="auto").items("test")
    flags = [int(number) for number in re.findall("--data.num_(?:val|test)_speakers ([0-9]+)", str(error.value))]
    assert flags == ([0, 2] if len(names) == 2 else [])
    assert ("2 speakers with enough material are the least" in str(error.value)) == (len(names) < 2)


def test_auto_beside_test_parts_and_numbers(librispeech):
    parts = {"train_parts": ["train-clean-100"], "test_parts": ["test-other"]}
    module = SpeakerDataModule(LibriSpeech(librispeech), **parts, num_val_speakers="auto", num_test_speakers="auto")
    assert len({one.speaker for one in module.split.val.test}) == 5
    assert {one.part for one in module.split.test.test} == {"test-other"}
