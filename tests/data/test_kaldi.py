import numpy as np
import pytest

from voxcert.data import Kaldi, Lhotse


@pytest.fixture
def kaldi(tmp_path, write_audio):
    """A data directory: two recordings, cut into three utterances of two speakers; tables may be replaced."""
    rec1, rec2 = write_audio("audio/rec1.wav", seconds=2.0), write_audio("audio/rec 2.flac", seconds=2.0)
    tables = {
        "wav.scp": f"rec1 {rec1}\nrec2 {rec2}\n",
        "segments": "u1 rec1 0.0 1.0\nu2 rec1 1.0 -1\nu3 rec2 0.5 1.5\n",
        "utt2spk": "u1 anna\nu2 ben\nu3 ben\n",
        "text": "u1 HELLO THERE\nu2\n",
    }

    def make(**changes):
        folder = tmp_path / "data"
        folder.mkdir(exist_ok=True)
        for name, text in (tables | {key.replace("_", "."): value for key, value in changes.items()}).items():
            if text is not None:
                (folder / name).write_text(text, encoding="utf-8")
        return Kaldi(str(folder))

    return make


def test_segments(kaldi):
    found = kaldi().utterances()
    assert [(one.id, one.speaker, one.start, one.end, one.text) for one in found] == [
        ("u1", "anna", 0.0, 1.0, "HELLO THERE"),
        ("u2", "ben", 1.0, None, ""),
        ("u3", "ben", 0.5, 1.5, ""),
    ]
    assert [len(one.load()) for one in found] == [16_000] * 3
    assert Lhotse(kaldi().root).utterances() == found


def test_a_channel_of_a_segment_is_one_of_what_its_command_prints(kaldi, write_audio):
    call = write_audio("audio/call.wav", samples=np.random.default_rng(0).normal(0, 0.1, (32_000, 2)))
    side = f"rec1 sph2pipe -f wav -p -c 2 {call} |\nrec2 {call}\n"
    found = kaldi(wav_scp=side, segments="u1 rec1 0 1 0\nu2 rec1 1 2 -1\nu3 rec2 0 1 0\n").utterances()
    assert [one.channel for one in found] == [1, 1, 0], "the other side of the call is not the first of both"
    wrong = {"rec1 0 1 1": "0 or -1, of the one that its command prints, got 1", "rec2 0 1 B": "1, ... or -1, got B"}
    for segment, message in wrong.items():
        with pytest.raises(ValueError, match=f"segments:1: a channel must be .*{message}"):
            kaldi(wav_scp=side, segments=f"u1 {segment}\nu2 rec2 1 2 0\nu3 rec2 0 1 0\n").utterances()


def test_whole_recordings(kaldi):
    found = kaldi(segments=None, utt2spk="rec1 anna\nrec2 ben\n", text="rec1 HI\n").utterances()
    assert [(one.id, one.speaker, one.end, one.text) for one in found] == [
        ("rec1", "anna", None, "HI"),
        ("rec2", "ben", None, ""),
    ]


def test_relative_paths_start_in_the_directory(kaldi):
    found = kaldi(wav_scp="rec1 ../audio/rec1.wav\nrec2 ../audio/rec 2.flac\n").utterances()
    assert len(found[0].load()) == 16_000


def test_decoders_are_understood_and_commands_are_not_run(kaldi, tmp_path, write_audio):
    rec1 = tmp_path / "audio" / "rec1.wav"
    call = write_audio("call.sph", samples=np.random.default_rng(0).normal(0, 0.1, (32_000, 2)), format="NIST")
    for flac in ("flac -c -d -s", "/usr/bin/flac -dcs", "flac --stdout --decode --silent", "flac -F -d --force"):
        listed = f"rec1 {flac} {rec1} |\nrec2 sph2pipe -f wav -p -c 2 {call} |\n"
        found = kaldi(wav_scp=listed).utterances()
        assert [(one.path, one.channel) for one in found] == [(rec1, None), (rec1, None), (call, 1)]
    for command in (
        f"touch {tmp_path}/ran; cat {rec1} |",
        f"sox {rec1} -t wav - |",
        f"cat {rec1} | sox - -t wav - |",
        f"flac -c -d -s --skip=16000 --until=48000 {rec1} |",
        f"flac -c --until=-1 -d {rec1} |",
        f"flac -cd --cue=2.1 {rec1} |",
        f"flac -c -s {rec1} |",
        f"sph2pipe -f wav -t 1:2 {rec1} |",
    ):
        with pytest.raises(ValueError, match="segments:3: an entry of wav.scp must be a file .* commands are not run"):
            kaldi(wav_scp=f"rec1 {rec1}\nrec2 {command}\n").utterances()
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("tables", "reason"),
    [
        ({"utt2spk": "u1 anna\nu2 ben\n"}, "segments:3: utterance 'u3' must have a speaker in utt2spk"),
        ({"utt2spk": "u1 anna\nu2 ben\nu3 ben\nu4 ben\n"}, "utt2spk:4: utterance 'u4' must have audio"),
        ({"utt2spk": "u1 anna\nu1 ben\nu2 ben\nu3 ben\n"}, "utt2spk:2: a key may be listed once, 'u1' is in .*:1 too"),
        ({"utt2spk": "u1 anna\nu2\nu3 ben\n"}, "utt2spk:2: a line must read KEY VALUE, got 'u2'"),
        ({"segments": "u1 rec1 0 1\nu2 rec9 0 1\nu3 rec2 0 1\n"}, "segments:2: recording 'rec9' must be in wav.scp"),
        (
            {"segments": "u1 rec1 0 1\nu2 rec1 soon 2\nu3 rec2 0 1\n"},
            "segments:2: start and end must be seconds, got soon",
        ),
        ({"segments": "u1 rec1 0 1\nu2 rec1 2 1\nu3 rec2 0 1\n"}, "segments:2: start and end must satisfy"),
        ({"segments": "u1 rec1 0 1\nu2 rec1 1\nu3 rec2 0 1\n"}, "segments:2: a line must read UTTERANCE RECORDING"),
        ({"segments": "u1 rec1 0 1\nu2 rec1 0.5 2\nu3 rec2 0 1\n"}, "segments:2 .* shares audio with .*segments:1"),
        ({"wav_scp": "rec1 nowhere.wav\nrec2 nowhere.wav\n"}, "must be an existing file, got nowhere.wav"),
    ],
)
def test_what_the_tables_do_not_complete_is_named(kaldi, tables, reason):
    with pytest.raises(ValueError, match=reason):
        kaldi(**tables).utterances()


def test_missing_tables_are_named(tmp_path):
    (tmp_path / "wav.scp").write_text("rec1 a.wav\n")
    with pytest.raises(ValueError, match="a Kaldi data directory must have utt2spk, got none"):
        Kaldi(str(tmp_path)).utterances()
    with pytest.raises(ValueError, match="root must be an existing folder"):
        Kaldi(str(tmp_path / "none")).utterances()
