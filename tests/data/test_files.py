import errno
import io
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

from voxcert.data import AudioError, Manifest, SpeakerFolders
from voxcert.data.files import (
    READABLE,
    PassedOver,
    files,
    looks_like_audio,
    read_text,
    recordings,
    without_ending,
    write_whole,
)
from voxcert.data.same_audio import content_hash, equal_files

ENDINGS = {"OGG": ["ogg", "oga", "opus"], "AIFF": ["aif", "aiff"], "NIST": ["sph", "nist"], "MP3": ["mp3", "mp2"]}
NOT_AUDIO = {"MAT4", "MAT5", "RAW"}


@pytest.mark.parametrize("kind", sorted(soundfile.available_formats()))
def test_every_format_of_the_library_is_read(kind, write_audio, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # libsndfile puts the resource fork of a nameless SD2 file into the folder it runs in
    if kind in NOT_AUDIO:
        pytest.skip("its files do not say that they are audio")
    names = {"WAVEX": ["wav"], "IRCAM": ["sf"], "MPC2K": ["mpc"], "SVX": ["svx"]}
    endings = ENDINGS.get(kind, names.get(kind, [kind.lower()]))
    assert {f".{ending}" for ending in endings} <= set(READABLE)
    if not soundfile.available_subtypes(kind):
        pytest.skip("libsndfile cannot write it")
    try:
        soundfile.write(io.BytesIO(), np.zeros(100), 16_000, format=kind)
    except soundfile.LibsndfileError as error:
        pytest.skip(f"libsndfile does not write it here: {error}")
    write_audio(f"anna/one.{endings[0]}", format=kind)
    (found,) = SpeakerFolders(str(tmp_path)).utterances()
    assert len(found.load()) == pytest.approx(16_000 * soundfile.info(found.path).duration, abs=800)


def test_what_looks_like_audio_is_counted(tmp_path, write_audio):
    write_audio("anna/a.wav")
    write_audio("anna/b.opus", format="OGG", subtype="OPUS")
    for name in ("c.m4a", "d.wma", "e.AMR", "f.webm"):
        (tmp_path / "anna" / name).write_bytes(b"x" * 20)
    write_audio("anna/x.wav").rename(tmp_path / "anna" / "no_ending")
    (tmp_path / "anna" / "notes.txt").write_text("RIFF is a container")
    found = list(recordings(tmp_path))
    assert [one.name for one in found if not isinstance(one, PassedOver)] == ["a.wav", "b.opus"]
    passed = {one.path.name: one.reason for one in found if isinstance(one, PassedOver)}
    assert passed.keys() == {"c.m4a", "d.wma", "e.AMR", "f.webm", "no_ending"}
    assert "their endings are not read here (convert each next to itself: ffmpeg" in passed["e.AMR"]
    (tmp_path / "anna" / "no_ending").unlink()
    message = r"4 passed over \(1 .amr, 1 .m4a, 1 .webm, 1 .wma\), such as .*c.m4a: their endings are not read here"
    with pytest.warns(UserWarning, match=message):
        assert len(SpeakerFolders(str(tmp_path)).utterances()) == 2


def test_what_was_converted_is_not_missed(tmp_path, write_audio):
    write_audio("anna/a.wav")
    (tmp_path / "anna" / "a.m4a").write_bytes(b"x" * 20)
    assert len(SpeakerFolders(str(tmp_path)).utterances()) == 1


@pytest.mark.parametrize("ending", ["m4a", "wma", "amr", "webm"])
def test_a_speaker_who_would_vanish_is_an_error(tmp_path, write_audio, ending):
    write_audio("anna/a.wav")
    (tmp_path / "ben").mkdir()
    with pytest.raises(ValueError, match="ben: is empty"):
        SpeakerFolders(str(tmp_path)).utterances()
    (tmp_path / "ben" / f"a.{ending}").write_bytes(b"x" * 20)
    with pytest.raises(ValueError, match=f"ben: has no recording that can be read, only such as .*ben/a.{ending}"):
        SpeakerFolders(str(tmp_path)).utterances()


def test_a_folder_of_texts_is_no_speaker_and_is_named(tmp_path, write_audio):
    write_audio("anna/a.wav")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "notes.txt").write_text("hello")
    with pytest.warns(UserWarning, match="docs: a folder without audio is taken for no speaker"):
        assert len(SpeakerFolders(str(tmp_path)).utterances()) == 1


def test_hidden_folders_are_no_speakers(tmp_path, write_audio):
    write_audio("anna/a.wav")
    write_audio(".cache/a.wav")
    write_audio("anna/.thumbs/b.wav")
    write_audio("anna/._a.wav")
    assert [one.id for one in SpeakerFolders(str(tmp_path)).utterances()] == ["anna/a"]


def test_links_in_circles_are_walked_once(tmp_path, write_audio):
    for speaker in ("anna", "ben"):
        for number in range(2):
            write_audio(f"{speaker}/{number}.wav")
    (tmp_path / "anna" / "up").symlink_to(tmp_path)
    (tmp_path / "ben" / "self").symlink_to(tmp_path / "ben")
    assert len(SpeakerFolders(str(tmp_path)).utterances()) == 4
    outside = tmp_path.parent / f"{tmp_path.name}-outside"
    outside.mkdir()
    (outside / "back").symlink_to(tmp_path / "ben")
    (tmp_path / "ben" / "out").symlink_to(outside)
    assert len(list(files(tmp_path))) == 4


def test_a_link_to_another_speaker_is_refused(tmp_path, write_audio):
    write_audio("anna/a.wav")
    write_audio("ben/b.wav")
    (tmp_path / "anna" / "more").symlink_to(tmp_path / "ben")
    with pytest.raises(ValueError, match=r"ben/b.wav \(ben.* shares audio with .*anna/more/b.wav \(anna"):
        SpeakerFolders(str(tmp_path)).utterances()


def test_a_folder_that_cannot_be_listed_is_named(tmp_path, monkeypatch):
    def walk(root, onerror, **_):
        onerror(PermissionError(13, "Permission denied", str(root / "anna")))
        return []

    monkeypatch.setattr("os.walk", walk)
    with pytest.raises(ValueError, match="anna: a folder must be readable, got Permission denied"):
        list(files(tmp_path))


def test_only_endings_of_audio_are_endings():
    assert without_ending("a/b.c.wav") == "a/b.c"
    assert without_ending("a/b.m4a") == "a/b"
    assert without_ending("speaker.1") == "speaker.1"


def test_looks_like_audio(tmp_path):
    heads = {"wav": b"RIFF....WAVE", "mp4": b"\0\0\0\x18ftypM4A ", "amr": b"#!AMR\n", "text": b"hello, world"}
    found = {}
    for name, head in heads.items():
        (tmp_path / name).write_bytes(head)
        found[name] = looks_like_audio(tmp_path / name)
    assert found == {"wav": True, "mp4": True, "amr": True, "text": False}
    assert not looks_like_audio(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ("ok\nJosé\n".encode("latin-1"), "t.txt:2: a text file must be UTF-8, got the byte 0xe9; .* -f ISO-8859-1"),
        ("path,speaker".encode("utf-16"), "t.txt:1: a text file must be UTF-8, got the byte 0xff; .* -f UTF-16"),
    ],
)
def test_other_encodings_are_named(tmp_path, data, reason):
    (tmp_path / "t.txt").write_bytes(data)
    with pytest.raises(ValueError, match=reason):
        read_text(tmp_path / "t.txt")
    with pytest.raises(ValueError, match="must be a text file that can be read"):
        read_text(tmp_path)


def test_nobody_waits_for_a_pipe(tmp_path, write_audio):
    write_audio("anna/a.wav")
    for name in ("anna/pipe.wav", "anna/pipe", "list.csv"):
        os.mkfifo(tmp_path / name)
    found = {one.path.name: one for one in SpeakerFolders(str(tmp_path)).utterances()}
    assert found.keys() == {"a.wav", "pipe.wav"}
    with pytest.raises(AudioError, match="pipe.wav: missing: no such file"):
        found["pipe.wav"].load()
    assert equal_files([tmp_path / "anna/pipe.wav"] * 2) == []
    assert content_hash(tmp_path / "anna/pipe.wav") == "not readable"
    with pytest.raises(ValueError, match="path must be an existing manifest"):
        Manifest(str(tmp_path / "list.csv")).utterances()
    with pytest.raises(ValueError, match="must be a text file that can be read, got no file"):
        read_text(tmp_path / "list.csv")


def test_a_full_disk_names_the_file_and_leaves_no_draft(tmp_path, monkeypatch):
    (tmp_path / "x.csv").write_text("old")

    def full(path, *args, **settings):
        path.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match=r"No space left on device: .*/x\.csv'"):
        write_whole(tmp_path / "x.csv", "new")
    assert [path.name for path in tmp_path.iterdir()] == ["x.csv"]
    assert (tmp_path / "x.csv").read_text() == "old"
