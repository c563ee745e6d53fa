import os
import tarfile
from urllib.error import URLError

import numpy as np
import pytest
import torchaudio.datasets

from voxcert.data import TIMIT, LibriSpeech, SpeakerFolders, VoxCeleb


def test_librispeech(write_audio, tmp_path):
    write_audio("dev-clean/84/121/84-121-0001.flac")
    write_audio("dev-clean/84/121/84-121-0000.flac")
    write_audio("test-clean/61/70/61-70-0000.flac")
    (tmp_path / "dev-clean/84/121/84-121.trans.txt").write_text("84-121-0000 GO DO YOU HEAR\n84-121-0001 BUT\n")
    (tmp_path / "SPEAKERS.TXT").touch()
    found = LibriSpeech(str(tmp_path)).utterances()
    assert [one.id for one in found] == ["61-70-0000", "84-121-0000", "84-121-0001"]
    assert [(one.speaker, one.part, one.text) for one in found[:2]] == [
        ("61", "test-clean", ""),
        ("84", "dev-clean", "GO DO YOU HEAR"),
    ]
    assert len(LibriSpeech(str(tmp_path), ["test-clean"]).utterances()) == 1
    assert found[0].load().shape == (8000,)


def test_librispeech_finds_the_folder_of_the_archive(write_audio, tmp_path):
    write_audio("LibriSpeech/dev-clean/84/121/84-121-0000.flac")
    assert len(LibriSpeech(str(tmp_path), ["dev-clean"]).utterances()) == 1


def test_librispeech_says_what_is_wrong(write_audio, tmp_path):
    write_audio("dev-clean/84/121/84-121-0000.flac")
    (tmp_path / "dev-other").mkdir()
    with pytest.raises(ValueError, match=r"parts must be among \['dev-clean', 'dev-other'\].*got 'dev-clear'"):
        LibriSpeech(str(tmp_path), ["dev-clear"]).utterances()
    with pytest.raises(ValueError, match=r"parts must hold audio files, got 'dev-other'"):
        LibriSpeech(str(tmp_path), ["dev-clean", "dev-other"]).utterances()
    with pytest.raises(ValueError, match=r"parts must name at least one part.*got \[\]"):
        LibriSpeech(str(tmp_path), [])
    with pytest.raises(ValueError, match="parts must be given when download is true"):
        LibriSpeech(str(tmp_path), download=True)


@pytest.fixture
def fetched(monkeypatch, write_audio, tmp_path):
    """Parts that torchaudio was asked for, with a recording each; while the list has "killed", it is left halfway."""
    asked = []

    def download(root, url, download):
        asked.append(url)
        unpacked = root / "LibriSpeech" / url
        assert not unpacked.exists(), "torchaudio leaves alone what is there"
        write_audio(str((unpacked / "61/70/61-70-0000.flac").relative_to(tmp_path)))
        (root / f"{url}.tar.gz").touch()
        if "killed" in asked:
            raise KeyboardInterrupt

    monkeypatch.setattr("torchaudio.datasets.LIBRISPEECH", download)
    return asked


@pytest.mark.parametrize("home", ["LibriSpeech/", ""])
def test_librispeech_downloads_only_what_is_absent(write_audio, tmp_path, fetched, home):
    write_audio(f"{home}dev-clean/84/121/84-121-0000.flac")
    corpus = LibriSpeech(str(tmp_path), ["dev-clean", "test-clean"], download=True)
    assert [one.part for one in corpus.utterances()] == ["test-clean", "dev-clean"]
    assert len(corpus.utterances()) == 2
    assert fetched == ["test-clean"]
    assert (tmp_path / home / "test-clean").is_dir()
    assert not list(tmp_path.rglob("*.tar.gz"))
    assert len(LibriSpeech(str(tmp_path)).utterances()) == 2


def test_librispeech_unpacks_an_archive_that_is_there_and_leaves_it(tmp_path, fetched, monkeypatch):
    (tmp_path / "test-clean.tar.gz").write_bytes(b"mine")
    download = torchaudio.datasets.LIBRISPEECH

    def unpack(root, url, **settings):
        assert (root / f"{url}.tar.gz").read_bytes() == b"mine", "torchaudio fetches no archive that is there"
        (root / f"{url}.tar.gz").unlink()
        download(root, url, **settings)

    monkeypatch.setattr("torchaudio.datasets.LIBRISPEECH", unpack)
    assert len(LibriSpeech(str(tmp_path), ["test-clean"], download=True).utterances()) == 1
    assert (tmp_path / "test-clean.tar.gz").read_bytes() == b"mine"


def test_librispeech_takes_no_part_that_was_half_unpacked(tmp_path, fetched):
    corpus = LibriSpeech(str(tmp_path / "new"), ["test-clean"], download=True)
    fetched.append("killed")
    with pytest.raises(KeyboardInterrupt):
        corpus.utterances()
    with pytest.raises(ValueError, match=r"parts must be among \[\].*got 'test-clean'"):
        LibriSpeech(str(tmp_path / "new"), ["test-clean"]).utterances()
    fetched.clear()
    assert len(corpus.utterances()) == 1
    assert fetched == ["test-clean"]


def no_network(*args, **kwargs):
    raise URLError("Name or service not known")


def test_librispeech_says_which_part_could_not_be_fetched(tmp_path, monkeypatch):
    monkeypatch.setattr("torchaudio.datasets.librispeech.download_url_to_file", no_network)
    corpus = LibriSpeech(str(tmp_path), ["dev-clean"], download=True)
    with pytest.raises(ValueError, match=r"openslr.org, got 'dev-clean', .*Name or service not known.*by hand"):
        corpus.utterances()
    unknown = LibriSpeech(str(tmp_path), ["dev-cleann"], download=True)
    with pytest.raises(ValueError, match=r"got 'dev-cleann', which could not be .*provide one of .'dev-clean'"):
        unknown.utterances()


@pytest.mark.parametrize("fault", ["half", "no archive", "another"])
def test_librispeech_says_which_archive_is_not_whole(write_audio, tmp_path, monkeypatch, fault):
    monkeypatch.setattr("torchaudio.datasets.librispeech.download_url_to_file", no_network)
    inside = "LibriSpeech/test-clean" if fault == "another" else "LibriSpeech/dev-clean"
    recording = write_audio(f"{inside}/84/121/84-121-0000.flac", seconds=5.0)
    archive = tmp_path / "root/dev-clean.tar.gz"
    archive.parent.mkdir()
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(recording, f"{inside}/84/121/84-121-0000.flac")
    whole = archive.read_bytes()
    archive.write_bytes({"half": whole[: len(whole) // 2], "no archive": b"mine", "another": whole}[fault])
    corpus = LibriSpeech(str(archive.parent), ["dev-clean"], download=True)
    with pytest.raises(ValueError, match=f"{archive} must be the whole archive of dev-clean \\(remove it"):
        corpus.utterances()
    assert not (tmp_path / "root/dev-clean").exists()
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(recording, "LibriSpeech/dev-clean/84/121/84-121-0000.flac")
    assert [one.id for one in corpus.utterances()] == ["84-121-0000"]


def test_real_librispeech(librispeech):
    found = LibriSpeech(librispeech).utterances()
    parts = {part: [one for one in found if one.part == part] for part in ("train-clean-100", "test-other")}
    assert [len(own) for own in parts.values()] == [201, 100]
    assert all(one.text for one in parts["test-other"])


def test_voxceleb(write_audio, tmp_path):
    write_audio("vox1/dev/wav/id10001/1zcIwhmdeo4/00001.wav")
    write_audio("vox1/wav/id10270/5r0dWxy17C8/00002.wav")
    write_audio("vox2/test/aac/id00017/01dfn2spqyE/00001.wav")
    (tmp_path / "vox2/test/aac/id00017/01dfn2spqyE/00001.m4a").touch()
    found = VoxCeleb(str(tmp_path)).utterances()
    assert [(one.id, one.speaker, one.part) for one in found] == [
        ("id00017/01dfn2spqyE/00001", "id00017", "test"),
        ("id10001/1zcIwhmdeo4/00001", "id10001", "dev"),
        ("id10270/5r0dWxy17C8/00002", "id10270", "test"),
    ]
    (tmp_path / "vox2/test/aac/id00017/01dfn2spqyE/00002.m4a").touch()
    with pytest.raises(ValueError, match=r"1 recordings are only there as AAC.*00002.m4a; convert.*ffmpeg"):
        VoxCeleb(str(tmp_path)).utterances()


@pytest.mark.parametrize("change", [str.upper, str.lower])
def test_timit(write_audio, tmp_path, change):
    path = write_audio(change("TRAIN/DR1/FCJF0/SA1.WAV"), format="NIST", subtype="PCM_16")
    write_audio(change("TEST/DR2/MDAB0/SX49.WAV"), format="NIST", subtype="PCM_16")
    write_audio(f"{path}.wav")
    path.with_suffix(change(".TXT")).write_text("0 46797 She had your dark suit in greasy wash water all year.\n")
    first, second = TIMIT(str(tmp_path)).utterances()
    assert (first.id, first.speaker, first.part) == ("FCJF0/SA1", "FCJF0", "train")
    assert first.text == "She had your dark suit in greasy wash water all year."
    assert (second.id, second.speaker, second.part, second.text) == ("MDAB0/SX49", "MDAB0", "test", "")
    assert first.load().shape == (8000,)


def test_speaker_folders(write_audio, tmp_path):
    write_audio("anna/b.wav")
    write_audio("anna/deep/a.FLAC", format="FLAC")
    write_audio("zoë/a.ogg")
    write_audio("anna/._b.wav")
    found = SpeakerFolders(str(tmp_path)).utterances()
    assert [(one.id, one.speaker) for one in found] == [("anna/b", "anna"), ("anna/deep/a", "anna"), ("zoë/a", "zoë")]
    write_audio("anna/b.flac")
    with pytest.raises(ValueError, match=r"ids must be unique, got 1 repeated, such as 'anna/b' for .* and "):
        SpeakerFolders(str(tmp_path)).utterances()
    write_audio("stray.wav")
    with pytest.raises(ValueError, match="stray.wav: must lie in the folder of its speaker"):
        SpeakerFolders(str(tmp_path)).utterances()


@pytest.mark.parametrize("kind", [LibriSpeech, VoxCeleb, TIMIT, SpeakerFolders])
def test_empty_and_missing_roots_are_named(tmp_path, kind):
    with pytest.raises(ValueError, match=f"{kind.__name__}.root='{tmp_path}'.*: no utterances found"):
        kind(str(tmp_path)).utterances()
    with pytest.raises(ValueError, match="root must be an existing folder, got '.*nowhere'"):
        kind(str(tmp_path / "nowhere")).utterances()


def test_links_to_speakers_are_followed(write_audio, tmp_path):
    path = write_audio("elsewhere/anna/a.wav", samples=np.tile([0.1, 0.2], 4000))
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "anna").symlink_to(path.parent)
    assert [one.id for one in SpeakerFolders(str(tmp_path / "corpus")).utterances()] == ["anna/a"]


def test_librispeech_converted_to_wav(write_audio, tmp_path):
    write_audio("dev-clean/84/121/84-121-0000.wav")
    write_audio("dev-clean/84/121/84-121-0001.opus", format="OGG", subtype="OPUS")
    (tmp_path / "dev-clean/84/121/84-121.trans.txt").write_text("84-121-0000 GO\n84-121-0001\n\n", encoding="utf-8")
    found = LibriSpeech(str(tmp_path), ["dev-clean"]).utterances()
    assert [(one.id, one.speaker, one.text) for one in found] == [
        ("84-121-0000", "84", "GO"),
        ("84-121-0001", "84", ""),
    ]


def test_a_stray_recording_is_no_speaker(write_audio, tmp_path):
    write_audio("dev-clean/84/121/84-121-0000.wav")
    write_audio("dev-clean/84/121/noise.wav")
    with pytest.warns(UserWarning, match="1 passed over .*noise.wav: a recording of LibriSpeech is called SPEAKER-"):
        assert len(LibriSpeech(str(tmp_path)).utterances()) == 1
    write_audio("vox/id10001/1zcIwhmdeo4/00001.wav")
    write_audio("vox/id10001/readme.wav")
    with pytest.warns(UserWarning, match="1 passed over .*readme.wav: a recording of VoxCeleb lies in SPEAKER/VIDEO"):
        assert len(VoxCeleb(str(tmp_path / "vox")).utterances()) == 1


@pytest.mark.parametrize("kind", [LibriSpeech, TIMIT])
def test_a_transcript_in_another_encoding_is_named(write_audio, tmp_path, kind):
    write_audio("TEST/DR1/FCJF0/SA1.WAV" if kind is TIMIT else "dev/84/121/84-121-0000.flac")
    text = tmp_path / ("TEST/DR1/FCJF0/SA1.TXT" if kind is TIMIT else "dev/84/121/84-121.trans.txt")
    text.write_bytes("84-121-0000 JOS\xc9\n".encode("latin-1"))
    with pytest.raises(ValueError, match=f"{text.name}:1: a text file must be UTF-8, got the byte 0xc9"):
        kind(str(tmp_path)).utterances()


@pytest.mark.parametrize("text", ["", "0 46797", "0 46797 \n", "\n"])
def test_a_transcript_without_words(write_audio, tmp_path, text):
    write_audio("TEST/DR1/FCJF0/SA1.WAV").with_suffix(".TXT").write_text(text)
    assert TIMIT(str(tmp_path)).utterances()[0].text == ""


def test_the_part_of_voxceleb_lies_in_its_archive(write_audio, tmp_path):
    for place in ("test/data/vox2/dev/aac", "test/data/vox2/test/aac", "test/data/vox1/wav"):
        write_audio(f"{place}/id0{len(place):04d}/01dfn2spqyE/00001.wav")
    found = VoxCeleb(str(tmp_path / "test" / "data")).utterances()
    assert {one.path.relative_to(tmp_path).parts[2:4]: one.part for one in found} == {
        ("vox2", "dev"): "dev",
        ("vox2", "test"): "test",
        ("vox1", "wav"): "dev",
    }
    inside = VoxCeleb(str(tmp_path / "test" / "data" / "vox1")).utterances()
    assert [one.part for one in inside] == ["dev"]


def test_voxceleb_with_celebrities_names(write_audio, tmp_path):
    write_audio("wav/A.J._Buckley/1zcIwhmdeo4/0000001.wav")
    write_audio("wav/Eartha_Kitt/x6uYqmx31kE/0000002.wav")
    found = VoxCeleb(str(tmp_path)).utterances()
    assert [(one.id, one.speaker, one.part) for one in found] == [
        ("A.J._Buckley/1zcIwhmdeo4/0000001", "A.J._Buckley", "dev"),
        ("Eartha_Kitt/x6uYqmx31kE/0000002", "Eartha_Kitt", "test"),
    ]


def test_speakers_are_named_as_people_read_them(write_audio, tmp_path):
    for folder in ("Zo\u00eb", "Zoe\u0308", "Zo\u00eb "):
        write_audio(f"{folder}/{len(folder)}{ord(folder[2]):x}.wav")
    assert {one.speaker for one in SpeakerFolders(str(tmp_path)).utterances()} == {"Zo\u00eb"}


def test_file_names_in_an_old_encoding_are_refused(write_audio, tmp_path):
    path = write_audio("anna/a.wav")
    os.rename(path, os.fsencode(tmp_path) + b"/anna/jos\xe9.wav")
    with pytest.raises(ValueError, match=r"jos.udce9.wav: a name must be UTF-8 text, got 'anna/jos.udce9'") as caught:
        SpeakerFolders(str(tmp_path)).utterances()
    str(caught.value).encode("utf-8")


def test_one_side_of_every_call(write_audio, tmp_path):
    samples = np.random.default_rng(0).normal(0, 0.1, (8000, 2))
    write_audio("anna/a.wav", samples=samples, subtype="FLOAT")
    (one,) = SpeakerFolders(str(tmp_path), channel=1).utterances()
    assert np.abs(one.load().numpy() - samples[:, 1]).max() < 1e-6


def test_files_whose_names_differ_in_blanks_are_two(write_audio, tmp_path):
    for name in ("anna/a b.wav", "anna/a  b.wav", "anna/a b .wav"):
        write_audio(name)
    assert {one.id for one in SpeakerFolders(str(tmp_path)).utterances()} == {"anna/a b", "anna/a  b", "anna/a b "}
