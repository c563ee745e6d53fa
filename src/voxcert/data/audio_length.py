"""How much audio a file has: what its header announces against what is there, so that no file ends early in silence.

libsndfile takes the shorter of the two without a word; what it found on the way stands in its log (`extra_info`).
"""

import re
from functools import lru_cache
from pathlib import Path

import soundfile

END_SLACK_SECONDS = 0.05  # a length that was rounded, by a writer or in a manifest, may lie just behind the last sample
UNKNOWN_FRAMES = 1 << 60  # libsndfile's largest count and its neighbours: a stream whose length nobody wrote down
PIPE_BYTES = 0x7FFFF000  # sizes from here on are written by who cannot know the size (sox and ffmpeg in a pipe)
BLOCK_FRAMES = 1 << 16

_BYTES = re.compile(
    r"^\s*(?:data|SSND|BODY|Data Size|Data length|riff|Riff size)\s*:?\s*(\d+) \(?should be (\d+)", re.MULTILINE
)
_FRAMES = re.compile(r"^\s*Frames\s*: (\d+)", re.MULTILINE)
_CHUNKS = re.compile(r"^(Length|RIFF|data) : (\d+)", re.MULTILINE)
_TORN = re.compile(r"truncated file|ended unexpectedly", re.IGNORECASE)


class AudioError(ValueError):
    """An audio file that cannot be used; the message names the file, what is allowed and what was found."""


class AudioReader(soundfile.SoundFile):
    """A sound file that is read forwards only.

    soundfile seeks behind every block that it has read, which fails on streams that do not know their length.
    """

    def seekable(self) -> bool:
        """Never, for soundfile's own bookkeeping; `seek` still works where the format can."""
        return False


def count_frames(file: AudioReader, path: str | Path, name: str) -> int:
    """Number of frames of an open file; a stream of unknown length is decoded to its end and rewound.

    Args:
        file: At its first frame.
        path: The same file.
        name: What a message calls it.

    Raises:
        AudioError: The file ends before what its header announces; the message has both numbers.
        soundfile.SoundFileError: A stream of unknown length is corrupt.
    """
    if file.frames >= UNKNOWN_FRAMES:
        frames = _decoded(file)
        file.seek(0)
        return frames
    reason = _ends_early(file, Path(path))
    if reason is not None:
        raise AudioError(f"{name}: ends early: {reason}")
    return file.frames


def _decoded(file: AudioReader) -> int:
    total = 0
    while count := len(file.read(BLOCK_FRAMES, dtype="float32", always_2d=True)):
        total += count
    return total


def _ends_early(file: AudioReader, path: Path) -> str | None:
    """What is missing, or None."""
    log, slack = file.extra_info, END_SLACK_SECONDS * file.samplerate
    for announced, there in (map(int, match) for match in _BYTES.findall(log)):
        if there < announced < PIPE_BYTES and (announced - there) * file.frames > slack * there:
            return f"its header announces {announced} bytes of audio, {there} are there"
    announced = max([int(count) for count in _FRAMES.findall(log)] + [_nist_frames(file, path)])
    if announced > file.frames + slack:
        return f"its header announces {announced} frames, {file.frames} are there"
    behind = _bytes_behind(file)
    if behind:
        return f"its header announces {file.frames} frames, {behind} bytes lie behind them"
    if file.format == "OGG" and not _ogg_is_whole(path):
        return f"its stream has no last page, {file.frames} frames are there"
    if file.format == "MP3":
        there = _mpeg_frames(path, path.stat().st_size, path.stat().st_mtime_ns)
        if there > file.frames + 3 * 1152:  # encoders pad by less than three MPEG frames
            return (
                f"{file.frames} frames are announced or guessed and {there} are there, as in an MP3 of variable bit "
                "rate without an index; write it anew: ffmpeg -i X.mp3 X.flac"
            )
    return f"it is torn off, {file.frames} frames are there" if _TORN.search(log) else None


def _bytes_behind(file: AudioReader) -> int:
    """Bytes behind all that the header of a WAV file speaks of, where they would last a second."""
    sizes = {name: int(count) for name, count in _CHUNKS.findall(file.extra_info)}
    if not {"Length", "RIFF", "data"} <= sizes.keys():
        return 0
    per_second = file.samplerate * (sizes["data"] / file.frames if file.frames else 2 * file.channels)
    behind = sizes["Length"] - max(sizes["RIFF"] + 8, sizes["data"] + 44)
    return behind if behind > per_second else 0


def _nist_frames(file: AudioReader, path: Path) -> int:
    if file.format != "NIST":
        return 0
    with path.open("rb") as raw:
        counts = re.search(rb"sample_count -i (\d+)", raw.read(1024))
    return int(counts.group(1)) if counts else 0


def _ogg_is_whole(path: Path) -> bool:
    """Whether the last page (RFC 3533, section 6) is complete and flagged as the end of its stream."""
    with path.open("rb") as raw:
        raw.seek(max(0, path.stat().st_size - (1 << 17)))  # a page has at most 65,307 bytes
        tail = raw.read()
    place = tail.rfind(b"OggS")
    page = tail[place:]
    if place < 0 or len(page) < 27:
        return False
    segments = page[27 : 27 + page[26]]
    return bool(page[5] & 4) and len(page) >= 27 + page[26] + sum(segments)


_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}  # by version bits
_KBITS = {  # layer III (ISO 11172-3 and 13818-3), by whether it is MPEG-1
    True: (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    False: (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}


@lru_cache(maxsize=4096)
def _mpeg_frames(path: Path, size: int, modified: int) -> int:
    """Audio frames (samples per channel) of an MPEG layer III file, from the headers of its MPEG frames.

    They are counted once for a file of this size and time: many stretches may be read from a long one.
    """
    data = path.read_bytes()
    place, total = data.find(b"\xff"), 0
    if data[:3] == b"ID3":
        place = 10 + sum((byte & 0x7F) << shift for byte, shift in zip(data[6:10], (21, 14, 7, 0), strict=True))
    while 0 <= place <= len(data) - 4:
        size, samples = _mpeg_frame(data[place : place + 4])
        if size:
            place, total = place + size, total + samples
        else:
            place = data.find(b"\xff", place + 1)
    return total


def _mpeg_frame(header: bytes) -> tuple[int, int]:
    """Bytes and samples of an MPEG frame; zeros where this is no header of layer III."""
    version, layer = header[1] >> 3 & 3, header[1] >> 1 & 3
    bits, rate = header[2] >> 4, header[2] >> 2 & 3
    if header[0] != 0xFF or header[1] < 0xE0 or layer != 1 or version == 1 or bits in (0, 15) or rate == 3:
        return 0, 0
    samples = 1152 if version == 3 else 576
    size = samples // 8 * 1000 * _KBITS[version == 3][bits - 1] // _RATES[version][rate] + (header[2] >> 1 & 1)
    return size, samples
