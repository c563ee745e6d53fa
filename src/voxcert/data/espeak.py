"""Synthetic speakers who need no download: voices of espeak-ng that read known sentences.

For tests, demonstrations and dry runs; they are no substitute for people.
"""

import ctypes
import hashlib
import os
import random
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path

import soundfile
import torch
from torch import Tensor

from voxcert.data.audio import SAMPLE_RATE, resample
from voxcert.data.corpus import Corpus, MissingLibrary
from voxcert.data.sentences import SENTENCES
from voxcert.data.utterance import Utterance

VARIANTS = (
    "adam Alex Alicia Andrea Andy anika Annie announcer antonio aunty belinda benjamin boris caleb david Denis Diogo "
    "ed edward edward2 f1 f2 f3 f4 f5 Gene grandma grandpa gustave Henrique Hugo ian iven iven3 Jacky john klatt "
    "klatt3 klatt5 Lee linda m1 m2 m3 m4 m5 m6 m7 m8 marcelo Marco Mario max Michael michel miguel Mike mike2 Nguyen "
    "norbert pablo paul pedro quincy Reed RicishayMax rob robert sandro shelby steph travis Tweaky victor zac"
).split()
ACCENTS = ("en-us", "en", "en-gb-scotland", "en-gb-x-rp", "en-gb-x-gbclan", "en-029", "en-us-nyc")
LEVEL = 0.05  # root mean square, -26 dB: variants differ by 20 dB, and the SNR of a given sigma should not
RETRIEVAL, UTF8, RATE, PITCH = 1, 1, 1, 3  # names in espeak-ng's speak_lib.h


@dataclass(frozen=True)
class Voice:
    """A synthetic speaker: espeak's voice variant, accent, pitch (0 to 100) and rate (words a minute)."""

    variant: str
    accent: str
    pitch: int
    rate: int

    @property
    def name(self) -> str:
        """Name of the speaker, and of its folder in the cache: it says all the settings."""
        return f"{self.variant}_{self.accent}_{self.pitch}_{self.rate}"


class EspeakVoices(Corpus):
    """Synthetic English speakers, each of another voice variant or accent, pitch and rate.

    Speech is synthesised once and kept as FLAC. Synthesis is not exact to the bit from run to run (espeak's noise
    source has no seed), the kept files are. Ids read SPEAKER/SENTENCE_NUMBER.

    Args:
        num_speakers: Speakers; the first n are the same for every number.
        utterances_per_speaker: Sentences that each speaker reads, drawn from the same 40; 2 to 5 seconds each.
        seed: Of the voices and of the choice of sentences.
        cache_dir: Where speech is kept; $VOXCERT_CACHE/espeak or ~/.cache/voxcert/espeak when null.
    """

    def __init__(
        self,
        num_speakers: int = 20,
        utterances_per_speaker: int = 6,
        seed: int = 0,
        cache_dir: str | None = None,
    ):
        most = len(VARIANTS) * len(ACCENTS)
        if not 1 <= num_speakers <= most:
            raise ValueError(f"num_speakers must be in [1, {most}], got {num_speakers}")
        if not 1 <= utterances_per_speaker <= len(SENTENCES):
            allowed = f"[1, {len(SENTENCES)}]"
            raise ValueError(f"utterances_per_speaker must be in {allowed}, got {utterances_per_speaker}")
        self.num_speakers = num_speakers
        self.utterances_per_speaker = utterances_per_speaker
        self.seed = seed
        self.cache_dir = cache_dir

    def scan(self) -> Iterator[Utterance]:
        """List the utterances, synthesising what is not kept yet.

        Raises:
            MissingLibrary: `espeakng_loader` is not installed.
        """
        home = os.environ.get("VOXCERT_CACHE", "~/.cache/voxcert")
        folder = Path(self.cache_dir or Path(home) / "espeak").expanduser()
        for voice in voices(self.num_speakers, self.seed):
            draw = random.Random(f"{self.seed}/{voice.name}")
            for number in sorted(draw.sample(range(len(SENTENCES)), self.utterances_per_speaker)):
                path = _kept(voice, SENTENCES[number], folder)
                yield Utterance(f"{voice.name}/{number:02d}", path, voice.name, text=SENTENCES[number])


def voices(num_speakers: int, seed: int = 0) -> list[Voice]:
    """Draw distinct voices: first every variant in one accent, then every variant in another one.

    Args:
        num_speakers: At most the number of variants times accents.
        seed: Of the draw.
    """
    draw = random.Random(f"{seed}")
    variants = draw.sample(VARIANTS, len(VARIANTS))
    turns = [(turn, place) for turn in range(len(ACCENTS)) for place in range(len(variants))]
    return [
        Voice(variants[place], ACCENTS[(turn + place) % len(ACCENTS)], draw.randint(25, 75), draw.randint(140, 190))
        for turn, place in turns[:num_speakers]
    ]


def synthesise(voice: Voice, text: str) -> Tensor:
    """Speak a text. espeak-ng keeps its state per process: call from one thread only.

    Args:
        voice: Who speaks.
        text: English.

    Returns:
        Waveform of shape (time,) at 16 kHz with a root mean square of `LEVEL` (less where it would clip).

    Raises:
        MissingLibrary: `espeakng_loader` is not installed.
        RuntimeError: espeak-ng refused the voice or the text.
    """
    library, rate, chunks = _library()
    chunks.clear()
    encoded = text.encode()
    failed = (
        library.espeak_SetVoiceByName(f"{voice.accent}+{voice.variant}".encode())
        or library.espeak_SetParameter(PITCH, voice.pitch, 0)
        or library.espeak_SetParameter(RATE, voice.rate, 0)
        or library.espeak_Synth(encoded, ctypes.c_size_t(len(encoded) + 1), 0, 0, 0, UTF8, None, None)
        or library.espeak_Synchronize()
    )
    if failed or not chunks:
        raise RuntimeError(f"espeak-ng could not speak {text!r} as {voice.name} (status {failed})")
    waveform = torch.frombuffer(bytearray(b"".join(chunks)), dtype=torch.int16) / 32768
    waveform = resample(waveform, Fraction(SAMPLE_RATE, rate))
    return waveform * torch.minimum(LEVEL / waveform.square().mean().sqrt(), 1 / waveform.abs().max())


@cache
def _library() -> tuple[ctypes.CDLL, int, list[bytes]]:
    """The initialised library, its sampling rate, and the list that its callback fills with 16-bit samples."""
    try:
        import espeakng_loader
    except ImportError as error:
        message = 'EspeakVoices needs espeakng_loader: pip install "voxcert[espeak]"'
        raise MissingLibrary(message) from error
    library = ctypes.CDLL(str(espeakng_loader.get_library_path()))
    rate = library.espeak_Initialize(RETRIEVAL, 0, str(espeakng_loader.get_data_path()).encode(), 0)
    if rate <= 0:
        raise RuntimeError(f"espeak-ng could not be initialised (status {rate})")
    chunks: list[bytes] = []

    @ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)
    def receive(samples: int | None, count: int, _events: int | None) -> int:
        if samples and count > 0:
            chunks.append(ctypes.string_at(samples, 2 * count))
        return 0  # go on

    library.espeak_SetSynthCallback(receive)
    library.voxcert_callback = receive  # C keeps a bare pointer: the callback must not be collected
    return library, rate, chunks


def _kept(voice: Voice, text: str, folder: Path) -> Path:
    """Path of the kept speech, which is written first where it is not there."""
    digest = hashlib.sha256(f"{LEVEL} {text}".encode()).hexdigest()[:12]
    path = folder / voice.name / f"{digest}.flac"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as file:
            soundfile.write(file, synthesise(voice, text).numpy(), SAMPLE_RATE, format="FLAC")
        os.replace(file.name, path)  # whole or not at all, also when two processes write it at once
    return path
