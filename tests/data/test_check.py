import inspect

import numpy as np
import pytest
import soundfile

from voxcert.data import (
    TIMIT,
    AudioError,
    Kaldi,
    Lhotse,
    LibriSpeech,
    Manifest,
    SpeakerDataModule,
    SpeakerFolders,
    VoxCeleb,
)
from voxcert.data.check import check_corpus, corpus_at, describe


def test_what_is_good(write_audio, tmp_path):
    for speaker in ("anna", "ben", "carl"):
        write_audio(f"{speaker}/a.wav", seconds=1.0)
        write_audio(f"{speaker}/b.flac", seconds=2.0, rate=48_000)
    report = check_corpus(SpeakerFolders(str(tmp_path)), num_workers=2)
    assert (report.refused, report.leaks, report.lost, report.notes) == ([], [], [], [])
    assert sum(report.seconds) == pytest.approx(9.0)
    assert report.formats == {"WAV PCM_16 16000 Hz mono": 3, "FLAC PCM_16 48000 Hz mono": 3}
    text = describe(report)
    assert "speakers   3 of 2 to 2 utterances" in text
    assert "utterances 6 of 1.0 to 2.0 s" in text
    assert "held out   by auto, speakers: 2 train" in text


def test_what_is_held_out_is_that_of_a_run(write_audio, tmp_path):
    for speaker in ("anna", "ben", "carl", "dora"):
        write_audio(f"{speaker}/a.wav", seconds=5.0)
    corpus = SpeakerFolders(str(tmp_path))
    assert '"auto" needs 3 speakers' in describe(check_corpus(corpus))
    settings = {"num_val_speakers": "auto", "num_test_speakers": "auto", "num_enroll": 3, "crop_seconds": 1.0}
    note = SpeakerDataModule(corpus, **settings).split.note
    assert f"held out   by auto, {note}\n" in describe(check_corpus(corpus, crop_seconds=1.0))
    assert "1 (" in note


def test_what_would_not_be_tested_is_counted(write_audio, tmp_path):
    rows = ["path,speaker,start,end"]
    for speaker in ("anna", "ben", "carl"):
        for take in range(5):
            write_audio(f"{speaker}{take}.wav", seconds=3.0)
            rows += [f"{speaker}{take}.wav,{speaker},{start},{start + 1}" for start in range(3)]
    (tmp_path / "list.csv").write_text("\n".join(rows))
    corpus = Manifest(str(tmp_path / "list.csv"))
    note = SpeakerDataModule(corpus, num_val_speakers="auto", num_test_speakers="auto", num_enroll=3).split.note
    assert "; 3 utterances lie in files that enrol and are not tested, such as " in note
    text = describe(check_corpus(corpus, num_enroll=3))
    assert f"held out   by auto, {note}\n" in text
    assert "enrolment  3 recordings of a speaker at most, or segments of 3 s of a single one\n" in text
    assert "; 3 utterances" not in describe(check_corpus(corpus))


def test_speakers_are_enrolled_as_a_run_enrols_them():
    settings = [inspect.signature(asked).parameters for asked in (check_corpus, SpeakerDataModule)]
    for name in ("num_enroll", "crop_seconds"):
        assert settings[0][name].default == settings[1][name].default


def test_every_fault_is_named(write_audio, tmp_path):
    write_audio("anna/good.wav", seconds=4.0)
    copy = tmp_path / "anna/copy.wav"
    copy.write_bytes((tmp_path / "anna/good.wav").read_bytes())
    samples, rate = soundfile.read(copy, dtype="int16")
    soundfile.write(tmp_path / "anna/other_container.flac", samples, rate)
    (tmp_path / "anna/link.wav").symlink_to(tmp_path / "anna/good.wav")
    torn = write_audio("ben/torn.wav", seconds=4.0)
    torn.write_bytes(torn.read_bytes()[:70_000])
    noise = np.random.default_rng(0).normal(0, 0.1, 160_000)
    write_audio("ben/phase.wav", samples=np.stack([noise, -noise], axis=1))
    write_audio("ben/hollow.wav", samples=np.where(np.abs(np.arange(160_000) - 80_000) < 32_000, 0, noise))
    (tmp_path / "ben/empty.ogg").touch()
    (tmp_path / "ben/more.m4a").write_bytes(b"x")
    (tmp_path / "carl").mkdir()
    (tmp_path / "carl/only.m4a").write_bytes(b"x")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/notes.txt").touch()
    write_audio("stray.wav")
    report = check_corpus(SpeakerFolders(str(tmp_path)))
    assert [one.id for one in report.usable] == ["anna/copy"]
    told = "\n".join(report.refused)
    for reason in (
        "torn.wav: ends early: its header announces 128000 bytes",
        "phase.wav: its 2 channels are in opposite phase",
        "hollow.wav: the crop of 3 s that begins at 3.500 s: digitally silent",
        "empty.ogg: empty: the file has 0 bytes",
        "carl: has no recording that can be read",
        "stray.wav: must lie in the folder of its speaker",
    ):
        assert reason in told
    assert len(report.refused) == 6
    for name in ("link.wav", "other_container.flac", "good.wav"):
        assert any(name in leak for leak in report.leaks)
    assert report.lost == ["ben"]
    assert any("2 passed over (2 .m4a)" in note for note in report.notes)
    assert any("docs: a folder without audio" in note for note in report.notes)
    assert "1 speakers of whom nothing is usable: ben" in describe(report)


def test_what_enrolment_would_refuse_is_refused(write_audio, tmp_path):
    noise = np.random.default_rng(0).normal(0, 0.1, (4, 192_000))
    noise[:, :64_000] = 0
    for speaker, samples in zip(("anna", "ben", "carl", "dora"), noise, strict=True):
        for take, part in enumerate((samples[::-1], samples)):
            write_audio(f"{speaker}/{take}.wav", samples=part[: 96_000 if take == 0 else None])
    corpus = SpeakerFolders(str(tmp_path))
    module = SpeakerDataModule(corpus, num_test_speakers=2, num_val_speakers=0)
    with pytest.raises(AudioError, match=r"1.wav \(0 s to 3.0\): digitally silent"):
        list(module.enrollment_dataloader("test"))
    report = check_corpus(corpus)
    assert [one.id for one in report.usable] == ["anna/0", "ben/0", "carl/0", "dora/0"]
    assert [message.split(": digitally silent")[0] for message in report.refused] == [
        f"{tmp_path}/{speaker}/1.wav (0 s to 3.0)" for speaker in ("anna", "ben", "carl", "dora")
    ]
    assert len(check_corpus(corpus, crop_seconds=8.0).usable) == 8, "recordings without room for two are not cut"


def test_both_are_left_out_where_nobody_knows_who_is_right(write_audio, tmp_path):
    write_audio("anna/a.wav")
    (tmp_path / "ben").mkdir()
    (tmp_path / "ben/b.wav").write_bytes(write_audio("anna/b.wav").read_bytes())
    report = check_corpus(SpeakerFolders(str(tmp_path)))
    assert [one.id for one in report.usable] == ["anna/a"]
    assert report.lost == ["ben"]


def test_copies_that_overlap_in_part(write_audio, tmp_path):
    path = write_audio("a.wav", seconds=2.0)
    (tmp_path / "b.wav").write_bytes(path.read_bytes())
    (tmp_path / "list.csv").write_text("path,speaker,start,end\na.wav,anna,0,1\nb.wav,anna,0.5,1.5\n")
    report = check_corpus(Manifest(str(tmp_path / "list.csv")))
    assert len(report.leaks) == 1
    assert "list.csv:3 (anna, 0.5 s to 1.5 s): a stretch of audio may be listed once" in report.leaks[0]


@pytest.mark.parametrize(
    ("place", "kind"),
    [
        ("anna/a.wav", SpeakerFolders),
        ("anna/2024/a.wav", SpeakerFolders),
        ("dev-clean/84/121/84-121-0000.flac", LibriSpeech),
        ("LibriSpeech/dev-clean/84/121/84-121-0000.wav", LibriSpeech),
        ("dev/wav/id10001/1zcIwhmdeo4/00001.wav", VoxCeleb),
        ("id10001/1zcIwhmdeo4/00001.wav", VoxCeleb),
        ("wav/A.J._Buckley/1zcIwhmdeo4/0000001.wav", VoxCeleb),
        ("TRAIN/DR1/FCJF0/SA1.WAV", TIMIT),
    ],
)
def test_the_layout_tells_the_corpus(write_audio, tmp_path, place, kind):
    write_audio(place)
    assert type(corpus_at(str(tmp_path))) is kind
    assert len(corpus_at(str(tmp_path)).utterances()) == 1
    assert type(corpus_at(str(tmp_path), "SpeakerFolders")) is SpeakerFolders


@pytest.mark.parametrize(
    ("name", "kind"),
    [("list.csv", Manifest), ("nemo.json", Manifest), ("cuts.jsonl", Lhotse), ("cuts.jsonl.gz", Lhotse)],
)
def test_the_name_tells_the_manifest(tmp_path, name, kind):
    (tmp_path / name).touch()
    assert type(corpus_at(str(tmp_path / name))) is kind


def test_directories_of_kaldi_and_lhotse(tmp_path):
    for name, kind in (("kaldi/wav.scp", Kaldi), ("lhotse/mini_recordings_train.jsonl.gz", Lhotse)):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
        assert type(corpus_at(str((tmp_path / name).parent))) is kind
    for name in ("nowhere", "x" * 5000):
        with pytest.raises(ValueError, match="path must be an existing manifest or folder"):
            corpus_at(name)


def test_real_speech(librispeech):
    report = check_corpus(LibriSpeech(librispeech, ["test-other"]), num_workers=2)
    assert (len(report.usable), report.refused, report.leaks, report.notes) == (100, [], [], [])
