import struct

import numpy as np
import pytest

from voxcert.data import AudioError, load
from voxcert.data.audio import duration

SECONDS = 3.0


def cut_to(path, share):
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


KINDS = {
    "a.wav": {},
    "float.wav": {"subtype": "FLOAT"},
    "adpcm.wav": {"subtype": "MS_ADPCM"},
    "wide.wav": {"format": "WAVEX"},
    "a.rf64": {"format": "RF64"},
    "a.w64": {},
    "a.aiff": {},
    "a.au": {},
    "a.flac": {},
    "a.ogg": {},
    "a.opus": {"format": "OGG", "subtype": "OPUS"},
    "a.mp3": {},
    "a.sph": {"format": "NIST"},
    "a.voc": {},
    "a.avr": {},
    "a.caf": {},
    "a.mpc": {"format": "MPC2K"},
}


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("share", [0.6, 0.9])
def test_a_file_that_ends_early_says_so(write_audio, name, share):
    path = write_audio(name, seconds=SECONDS, **KINDS[name])
    assert duration(path) == pytest.approx(SECONDS, abs=0.1)
    assert len(load(path)) == pytest.approx(SECONDS * 16_000, abs=1600)
    cut_to(path, share)
    with pytest.raises(AudioError, match=f"{name}: (ends early|corrupt|not readable)"):
        load(path)
    with pytest.raises(AudioError, match=f"{name}.*: (ends early|corrupt|not readable)"):
        load(path, 0.0, 1.0) if name not in ("a.flac", "a.mp3") else load(path, 1.0)


def test_the_message_has_both_numbers(write_audio):
    path = cut_to(write_audio("a.wav", seconds=SECONDS), 0.6)
    with pytest.raises(AudioError, match="a.wav: ends early: its header announces 96000 bytes of audio, 57582 are"):
        load(path)
    with pytest.raises(AudioError, match="its header announces 96000 bytes of audio"):
        duration(path)
    path = cut_to(write_audio("a.sph", seconds=SECONDS, format="NIST"), 0.6)
    with pytest.raises(AudioError, match="its header announces 48000 frames, 28595 are there"):
        load(path)
    path = cut_to(write_audio("a.mp3", seconds=SECONDS), 0.6)
    with pytest.raises(AudioError, match=r"48000 frames announced, \d+ could be decoded"):
        load(path)


def test_a_variable_bit_rate_without_its_index(write_audio):
    bursts = np.repeat(np.random.default_rng(0).integers(0, 2, 40), 8000)
    samples = np.random.default_rng(1).normal(0, 0.2, len(bursts)).clip(-1, 1) * bursts
    settings = {"bitrate_mode": "VARIABLE", "compression_level": 0.3}
    path = write_audio("a.mp3", samples=samples, **settings)
    assert len(load(path)) == len(samples)
    data = path.read_bytes()
    second = data.find(data[:2], 10)
    assert b"Xing" in data[:second]
    path.write_bytes(data[second:])
    with pytest.raises(AudioError, match=r"a.mp3: ends early: \d+ frames are announced or guessed and 32\d+ are there"):
        load(path)


def flac_of_unknown_length(path):
    data = bytearray(path.read_bytes())
    data[21] &= 0xF0  # the 36 bits of STREAMINFO that hold the number of samples
    data[22:26] = bytes(4)
    path.write_bytes(data)
    return path


def test_a_stream_of_unknown_length_is_read_to_its_end(write_audio):
    path = write_audio("a.flac", seconds=SECONDS)
    whole, part = load(path), load(path, 1.0, 2.0)
    flac_of_unknown_length(path)
    assert load(path).equal(whole)
    assert load(path, 1.0, 2.0).equal(part)
    assert duration(path) == SECONDS
    with pytest.raises(AudioError, match="a.flac.*: not readable as audio, or corrupt"):
        load(cut_to(path, 0.6))


@pytest.mark.parametrize("size", [0xFFFFFFFF, 0x7FFFFFFF, 0x7FFFF000])
def test_a_wav_from_a_pipe_is_read_to_its_end(write_audio, size):
    path = write_audio("a.wav", seconds=SECONDS)
    whole, data = load(path), bytearray(path.read_bytes())
    data[4:8] = struct.pack("<I", size)
    place = data.find(b"data") + 4
    data[place : place + 4] = struct.pack("<I", size)
    path.write_bytes(data)
    assert load(path).equal(whole)


@pytest.mark.parametrize("announced", [0, 2000])
def test_a_header_from_before_the_recording_says_so(write_audio, announced):
    path = write_audio("a.wav", seconds=SECONDS)
    data = bytearray(path.read_bytes())
    place = data.find(b"data") + 4
    data[4:8] = struct.pack("<I", announced + 36)
    data[place : place + 4] = struct.pack("<I", announced)
    path.write_bytes(data)
    reason = f"its header announces {announced // 2} frames, {96_000 - announced} bytes lie behind them"
    with pytest.raises(AudioError, match=f"a.wav: ends early: {reason}"):
        load(path)


def test_chunks_and_tags_behind_the_audio_are_none_of_it(write_audio):
    path = write_audio("a.wav", seconds=SECONDS)
    whole, data = load(path), bytearray(path.read_bytes())
    chunk = b"LIST" + struct.pack("<I", 100_000) + bytes(100_000)
    data[4:8] = struct.pack("<I", len(data) + len(chunk) - 8)
    path.write_bytes(data + chunk + b"TAG" + bytes(125))
    assert load(path).equal(whole)
    data[4:8] = bytes(4)  # a size that some writers never fill in
    path.write_bytes(data)
    assert load(path).equal(whole)


def test_a_size_that_was_rounded_up_is_no_fault(write_audio):
    path = write_audio("a.wav", seconds=SECONDS)
    path.write_bytes(path.read_bytes()[:-4])
    assert len(load(path)) == 47_998


def test_a_header_that_promises_more_than_memory(write_audio):
    path = write_audio("a.flac", seconds=SECONDS)
    data = bytearray(path.read_bytes())
    data[21] |= 0x0F
    path.write_bytes(data)
    with pytest.raises(
        AudioError, match=r"a.flac: (corrupt: \d+ frames announced, 48000 could be decoded|not readable)"
    ):
        load(path)
