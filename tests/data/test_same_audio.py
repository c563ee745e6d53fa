from dataclasses import replace
from pathlib import Path

import pytest
import soundfile

from voxcert.data import Utterance
from voxcert.data.same_audio import content_hash, copies, equal_files, equal_recordings, file_key, overlapping


def stretches(path, *times, speaker="anna"):
    return [Utterance(f"{path}@{start}", Path(path), speaker, start, end) for start, end in times]


def starts(pairs):
    return [(first.start, second.start) for first, second in pairs]


def test_stretches_that_overlap():
    assert starts(overlapping(stretches("a", (0, 3), (1.5, 4.5), (3, 6)))) == [(0, 1.5), (1.5, 3)]
    assert starts(overlapping(stretches("a", (0, None), (5, 6)))) == [(0, 5)]
    assert starts(overlapping(stretches("a", (0, 10), (1, 2), (3, 4)))) == [(0, 1), (0, 3)]
    assert overlapping(stretches("a", (0, 3), (3, 6), (6, None))) == []
    assert overlapping(stretches("a", (0, 3)) + stretches("b", (0, 3))) == []


def test_channels_share_audio_with_their_average_only():
    one, other, average = (replace(stretches("a", (0, 3))[0], channel=channel) for channel in (0, 1, None))
    assert overlapping([one, other]) == []
    assert len(overlapping([one, average])) == 1
    assert len(overlapping([one, replace(one, id="again")])) == 1
    assert len(overlapping([one, other, average])) == 2


def test_a_file_is_what_it_is(tmp_path, write_audio):
    path = write_audio("s1/a.wav")
    (tmp_path / "link.wav").symlink_to(path)
    (tmp_path / "hard.wav").hardlink_to(path)
    spellings = [path, tmp_path / "s1/../s1/a.wav", tmp_path / "link.wav", tmp_path / "hard.wav"]
    assert len({file_key(one) for one in spellings}) == 1
    assert file_key(write_audio("s1/b.wav")) != file_key(path)
    assert file_key("x" * 5000) != file_key("y" * 5000)
    assert file_key("nowhere/../a") == file_key("a")


def test_copies_are_found_by_their_bytes(write_audio, tmp_path):
    path, other = write_audio("a.wav", seconds=2.0), write_audio("b.wav", seconds=2.0)
    copy, near = tmp_path / "copy.wav", tmp_path / "near.wav"
    copy.write_bytes(path.read_bytes())
    data = bytearray(path.read_bytes())
    data[10_000] ^= 1  # one byte where no sample is taken
    near.write_bytes(data)
    assert equal_files([path, other, copy, near, tmp_path / "none.wav"]) == [[path, copy]]
    assert content_hash(path) == content_hash(copy) != content_hash(near)
    assert content_hash(tmp_path / "none.wav") == "not readable"


def test_recordings_are_the_same_in_any_container(write_audio, tmp_path):
    path, other = write_audio("a.wav", seconds=2.0), write_audio("b.wav", seconds=2.0)
    samples, rate = soundfile.read(path, dtype="int16")
    for name in ("a.flac", "a.aiff"):
        soundfile.write(tmp_path / name, samples, rate)
    found = equal_recordings([path, other, tmp_path / "a.flac", tmp_path / "a.aiff"])
    assert found == [[path, tmp_path / "a.flac", tmp_path / "a.aiff"]]
    assert equal_files([path, tmp_path / "a.flac"]) == []


def test_copies_share_audio_where_their_stretches_do(write_audio, tmp_path):
    path = write_audio("a.wav", seconds=2.0)
    copy = tmp_path / "copy.wav"
    copy.write_bytes(path.read_bytes())
    first, second = stretches(path, (0, 1), (1, None)), stretches(copy, (0.5, 1.0))
    assert copies(first + second) == [(first[0], second[0])]
    assert copies(first) == []


@pytest.mark.parametrize("count", [300])
def test_many_stretches_are_swept_in_order(count):
    apart = stretches("a", *((index, index + 1) for index in range(count)))
    assert overlapping(apart[::-1]) == []
    assert len(overlapping([*apart, *stretches("a", (0.5, 0.75))])) == 1
