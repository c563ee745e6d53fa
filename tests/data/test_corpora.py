import numpy as np
import pytest

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
    with pytest.raises(ValueError, match=r"parts must hold FLAC files, got 'dev-other'"):
        LibriSpeech(str(tmp_path), ["dev-clean", "dev-other"]).utterances()
    with pytest.raises(ValueError, match=r"parts must name at least one part.*got \[\]"):
        LibriSpeech(str(tmp_path), [])
    with pytest.raises(ValueError, match="parts must be given when download is true"):
        LibriSpeech(str(tmp_path), download=True)


def test_librispeech_downloads_only_what_is_absent(write_audio, tmp_path, monkeypatch):
    write_audio("LibriSpeech/dev-clean/84/121/84-121-0000.flac")
    asked = []

    def download(root, url, download):
        asked.append((root, url, download))
        write_audio(f"LibriSpeech/{url}/61/70/61-70-0000.flac")

    monkeypatch.setattr("torchaudio.datasets.LIBRISPEECH", download)
    corpus = LibriSpeech(str(tmp_path), ["dev-clean", "test-clean"], download=True)
    assert len(corpus.utterances()) == 2
    assert asked == [(str(tmp_path), "test-clean", True)]


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
