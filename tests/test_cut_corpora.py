"""The lists in docs/corpora make the corpora behind the docs from the published ones."""

import hashlib
import os
from pathlib import Path

import cut_corpora
import numpy
import pytest
import soundfile

from voxcert.data import Manifest


@pytest.fixture
def listed(tmp_path, monkeypatch):
    """A corpus as it was published, of two recordings, and a list of one second of the first and of all the second."""
    generator = numpy.random.default_rng(0)
    lines = ["path,samples,sha256,speaker,text,part"]
    for name, count in (("000240031", 16_000), ("000240071", 24_000)):
        samples = generator.integers(-1000, 1000, 24_000, dtype=numpy.int16)
        path = tmp_path / "published" / "WAVE" / "SPEAKER0024" / f"{name}.WAV"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, samples, 16_000, subtype="PCM_16", format="WAV")
        digest = hashlib.sha256(samples[:count].tobytes()).hexdigest()[:16]
        lines.append(f'test/0024/{name}.flac,{count},{digest},0024,"SO, IT IS",test')
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "adults.csv").write_text("\n".join(lines) + "\n")
    monkeypatch.setattr(cut_corpora, "LISTS", tmp_path / "lists")
    return tmp_path / "published", tmp_path / "cut"


def test_a_published_corpus_is_cut_and_listed(listed):
    source, target = listed
    cut_corpora.main(["adults", str(source), str(target)])
    first, second = Manifest(str(target / "manifest.csv")).utterances()
    assert (first.speaker, first.part, first.text) == ("0024", "test", "SO, IT IS")
    assert [len(one.load()) for one in (first, second)] == [16_000, 24_000]
    before = (target / "test/0024/000240031.flac").stat().st_mtime_ns
    cut_corpora.main(["adults", str(source), str(target)])
    assert (target / "test/0024/000240031.flac").stat().st_mtime_ns == before, "what is there stays"


def test_what_is_there_already_must_not_be_longer(listed):
    source, target = listed
    place = target / "test/0024/000240031.flac"
    place.parent.mkdir(parents=True)
    samples, _ = soundfile.read(source / "WAVE" / "SPEAKER0024" / "000240031.WAV", dtype="int16")
    soundfile.write(place, samples, 16_000, subtype="PCM_16")
    with pytest.raises(SystemExit, match="000240031.flac has other samples.*\n1 files"):
        cut_corpora.main(["adults", str(source), str(target)])


@pytest.mark.parametrize("fault", ["absent", "other samples", "no audio", "another rate"])
def test_what_is_not_as_listed_is_named(listed, fault):
    source, target = listed
    path = source / "WAVE" / "SPEAKER0024" / "000240031.WAV"
    samples, _ = soundfile.read(path, dtype="int16")
    if fault == "absent":
        path.unlink()
    elif fault == "other samples":
        soundfile.write(path, samples + 1, 16_000, subtype="PCM_16", format="WAV")
    elif fault == "no audio":
        path.write_bytes(b"no audio")
    else:
        soundfile.write(path, samples, 8_000, subtype="PCM_16", format="WAV")
    with pytest.raises(SystemExit, match="000240031.flac.*\n1 files are missing or differ"):
        cut_corpora.main(["adults", str(source), str(target)])
    assert (target / "test/0024/000240071.flac").is_file()
    assert not (target / "test/0024/000240031.flac").exists()


def test_no_folder_of_a_corpus_is_an_error(listed, capsys):
    with pytest.raises(SystemExit):
        cut_corpora.main(["adults", str(listed[0] / "no"), str(listed[1])])
    assert "source must be the folder of the published corpus" in capsys.readouterr().err


def test_librispeech_here_is_the_one_that_is_listed(librispeech, tmp_path):
    assert cut_corpora.cut("librispeech-mini", Path(librispeech), tmp_path) == []
    made = {path.relative_to(tmp_path): path for path in tmp_path.rglob("*") if path.is_file()}
    assert len(made) == 301 + 10
    for place, path in made.items():
        if path.suffix == ".txt":
            lines = path.read_text().splitlines()
            assert len(lines) == 10
            assert set(lines) <= set((Path(librispeech) / place).read_text().splitlines())


def test_speechocean_here_is_the_one_that_is_listed(tmp_path):
    default = Path(__file__).parents[2] / "shared" / "data" / "speechocean-adults"
    source = Path(os.environ.get("VOXCERT_SPEECHOCEAN", default))
    if not (source / "manifest.csv").is_file():
        pytest.skip(f"needs speechocean762's adults in {source}: set VOXCERT_SPEECHOCEAN to a folder with them")
    assert cut_corpora.cut("speechocean-adults", source, tmp_path) == []
    assert (tmp_path / "manifest.csv").read_text() == (source / "manifest.csv").read_text()
