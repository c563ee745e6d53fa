import sys
from pathlib import Path

import pytest

from voxcert.data import EspeakVoices
from voxcert.data.espeak import ACCENTS, LEVEL, VARIANTS, _library, voices
from voxcert.data.sentences import SENTENCES


def test_speakers_read_known_sentences(espeak):
    found = espeak.utterances()
    assert len(found) == 24
    assert len({one.speaker for one in found}) == 6
    for one in found:
        waveform = one.load()
        assert one.text in SENTENCES
        assert 1.5 < len(waveform) / 16_000 < 7
        assert waveform.square().mean().sqrt() <= LEVEL * 1.01
        assert waveform.abs().max() > 0.05


def test_voices_are_distinct_and_the_first_stay_the_same():
    most = len(VARIANTS) * len(ACCENTS)
    everyone = voices(most)
    assert len({(voice.variant, voice.accent) for voice in everyone}) == most
    assert len({voice.variant for voice in everyone[: len(VARIANTS)]}) == len(VARIANTS)
    assert voices(10) == everyone[:10] != voices(10, seed=1)


def test_every_variant_is_in_the_library():
    loader = pytest.importorskip("espeakng_loader")
    folder = Path(loader.get_data_path())
    assert {path.name for path in (folder / "voices" / "!v").iterdir()} >= set(VARIANTS)
    assert {path.name.lower() for path in (folder / "lang" / "gmw").iterdir()} >= set(ACCENTS)


def test_kept_speech_is_used_again(espeak, monkeypatch):
    def fail(voice, text):
        raise AssertionError("synthesised again")

    before = espeak.utterances()
    monkeypatch.setattr("voxcert.data.espeak.synthesise", fail)
    assert espeak.utterances() == before
    fewer = EspeakVoices(num_speakers=2, utterances_per_speaker=4, cache_dir=espeak.cache_dir)
    assert set(fewer.utterances()) < set(before)


def test_the_environment_names_the_cache(tmp_path, monkeypatch, espeak):
    monkeypatch.setenv("VOXCERT_CACHE", str(tmp_path))
    (one,) = EspeakVoices(num_speakers=1, utterances_per_speaker=1).utterances()
    assert one.path.is_relative_to(tmp_path / "espeak")
    assert {path.suffix for path in one.path.parent.iterdir()} == {".flac"}


def test_a_missing_library_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(ImportError, match=r'pip install "voxcert\[espeak\]"'):
        _library.__wrapped__()


def test_bad_numbers_are_named():
    with pytest.raises(ValueError, match=r"num_speakers must be in \[1, \d+\], got 0"):
        EspeakVoices(num_speakers=0)
    with pytest.raises(ValueError, match=r"utterances_per_speaker must be in \[1, 40\], got 41"):
        EspeakVoices(utterances_per_speaker=41)
