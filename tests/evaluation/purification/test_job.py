import io
from dataclasses import replace

import pytest
import soundfile
import torch
import yaml

from voxcert.data import load
from voxcert.data.paths import printable
from voxcert.evaluation.purification.job import find_files, purify_files
from voxcert.evaluation.purification.pieces import purify_long
from voxcert.evaluation.purification.row import PurifiedRow
from voxcert.evaluation.purification.settings import PurifySettings
from voxcert.purifiers import AddNoise, GaussianFilter, MeanFilter
from voxcert.purifiers.base import Purifier
from voxcert.rows import read_rows


@pytest.fixture
def folder(tmp_path):
    """Two good files, one of them at 8 kHz and stereo, and three bad ones."""
    folder = tmp_path / "in"
    (folder / "deep" / "down").mkdir(parents=True)
    generator = torch.Generator().manual_seed(0)
    soundfile.write(folder / "a.wav", 0.1 * torch.randn(8000, generator=generator).numpy(), 16_000)
    soundfile.write(folder / "deep" / "b.ogg", 0.1 * torch.randn(4000, 2, generator=generator).numpy(), 8_000)
    soundfile.write(folder / "deep" / "down" / "silent.flac", torch.zeros(8000).numpy(), 16_000)
    soundfile.write(folder / "short.wav", 0.1 * torch.randn(100, generator=generator).numpy(), 16_000)
    (folder / "torn.mp3").write_bytes(b"")
    (folder / "notes.txt").write_text("no audio")
    return folder


def settings(folder, tmp_path, **changes):
    return PurifySettings([str(folder)], str(tmp_path / "out"), accelerator="cpu", **changes)


def test_good_files_are_purified_and_bad_ones_are_rows(folder, tmp_path):
    purifier = GaussianFilter(2.0)
    rows = purify_files(purifier, settings(folder, tmp_path))
    found = {row.file.removeprefix(f"{folder}/"): row for row in rows}
    assert sorted(found) == ["a.wav", "deep/b.ogg", "deep/down/silent.flac", "short.wav", "torn.mp3"]
    assert {name: row.output for name, row in found.items() if row.failed is None} == {
        "a.wav": "a.wav",
        "deep/b.ogg": "deep/b.flac",
    }
    reasons = {"deep/down/silent.flac": "digitally silent", "short.wav": "too short", "torn.mp3": "0 bytes"}
    assert all(reason in found[name].failed for name, reason in reasons.items())
    assert {row.file: row for row in read_rows(tmp_path / "out" / "rows.jsonl", PurifiedRow)} == {
        row.file: row for row in rows
    }
    for name, output in (("a.wav", "a.wav"), ("deep/b.ogg", "deep/b.flac")):
        info = soundfile.info(tmp_path / "out" / output)
        assert (info.samplerate, info.channels, info.subtype) == (16_000, 1, "PCM_16")
        clean, purified = load(folder / name), load(tmp_path / "out" / output)
        assert torch.allclose(purified, purifier(clean[None])[0], atol=2**-16 + 1e-6)
        change = 10 * torch.log10(clean.square().sum() / (purified - clean).square().sum())
        assert found[name].change_db == pytest.approx(change.item(), abs=1e-3)
        assert found[name].duration == len(clean) / 16_000


def test_a_job_that_was_cut_goes_on_and_tries_failures_again(folder, tmp_path):
    first = purify_files(AddNoise(0.01), settings(folder, tmp_path))
    path = tmp_path / "out" / "rows.jsonl"
    path.write_bytes(path.read_bytes()[:-20])  # the last row is torn
    stamp = (tmp_path / "out" / "a.wav").stat().st_mtime_ns
    audio = (tmp_path / "out" / "deep" / "b.flac").read_bytes()
    (tmp_path / "out" / "deep" / "b.flac").unlink()
    soundfile.write(folder / "torn.mp3", 0.1 * torch.randn(8000).numpy(), 16_000, format="WAV")
    again = purify_files(AddNoise(0.01), settings(folder, tmp_path))
    assert (tmp_path / "out" / "a.wav").stat().st_mtime_ns == stamp, "done already"
    assert (tmp_path / "out" / "deep" / "b.flac").read_bytes() == audio, "the same noise again"
    assert [row.file for row in again] == [row.file for row in first]
    assert [row.failed is None for row in again] == [True, True, False, False, True]
    for old, new in zip(first[:4], again[:4], strict=True):
        assert replace(old, seconds=0) == replace(new, seconds=0)


def test_other_settings_weights_and_names_are_refused(folder, tmp_path):
    purify_files(MeanFilter(3), settings(folder, tmp_path))
    with pytest.raises(ValueError, match="holds a run with other settings: purifier_hash is"):
        purify_files(MeanFilter(5), settings(folder, tmp_path))
    with pytest.raises(ValueError, match="seed is 0 there, got 1"):
        purify_files(MeanFilter(3), settings(folder, tmp_path, seed=1))
    kept = yaml.safe_load((tmp_path / "out" / "config.yaml").read_text())["purifier_hash"]
    with pytest.raises(ValueError, match=f"purifier_hash must be {kept}, got "):
        purify_files(MeanFilter(5), settings(folder, tmp_path, purifier_hash=kept))
    (folder / "a.mp3").write_bytes(b"")
    (folder / "a.flac").write_bytes(b"")
    with pytest.raises(ValueError, match="inputs must differ in name, got .*a.flac and .*a.mp3, both for a.flac"):
        find_files([str(folder)], "out")
    with pytest.raises(ValueError, match="output_dir must be another folder"):
        find_files([str(folder / "a.wav")], str(folder))
    with pytest.raises(ValueError, match="inputs must hold audio files .* got none in"):
        find_files([str(tmp_path / "out")], str(tmp_path / "out"))
    with pytest.raises(ValueError, match="inputs must name at least one"):
        PurifySettings([], "out")
    with pytest.raises(ValueError, match="chunk_seconds must be finite and above 0.5, got 0.5"):
        PurifySettings(["a"], "out", chunk_seconds=0.5)


def test_a_recording_that_no_run_made_is_not_overwritten(folder, tmp_path):
    out = tmp_path / "out"
    (out / "deep").mkdir(parents=True)
    (out / "deep" / "b.flac").write_bytes(b"another recording")
    with pytest.raises(ValueError, match=r"no other files where results go, got .*out with deep/b.flac, which no run"):
        purify_files(MeanFilter(3), settings(folder, tmp_path))
    assert (out / "deep" / "b.flac").read_bytes() == b"another recording"
    assert not (out / "a.wav").exists(), "before anything is purified"
    assert not (out / "config.yaml").exists()
    (out / "deep" / "b.flac").unlink()
    purify_files(MeanFilter(3), settings(folder, tmp_path))
    (out / "later.wav").write_bytes(b"another recording")
    (folder / "a.wav").rename(folder / "later.wav")
    with pytest.raises(ValueError, match=r"got .*out with later.wav, which no run made there"):
        purify_files(MeanFilter(3), settings(folder, tmp_path))


def test_a_file_whose_row_was_not_written_any_more_is_made_again(folder, tmp_path):
    purify_files(MeanFilter(3), settings(folder, tmp_path))
    audio = (tmp_path / "out" / "a.wav").read_bytes()
    (tmp_path / "out" / "rows.jsonl").write_text("")  # as a kill between the two leaves it
    assert purify_files(MeanFilter(3), settings(folder, tmp_path))[0].output == "a.wav"
    assert (tmp_path / "out" / "a.wav").read_bytes() == audio


def test_folders_of_older_runs_go_on(folder, tmp_path):
    purify_files(MeanFilter(3), settings(folder, tmp_path))
    (tmp_path / "out" / ".places.json").unlink()  # which they had not
    (tmp_path / "out" / "rows.jsonl").rename(tmp_path / "out" / "rows.rank1.jsonl")
    assert len(purify_files(MeanFilter(3), settings(folder, tmp_path))) == 5


def test_results_inside_the_inputs_are_not_purified_again(folder):
    job = PurifySettings([str(folder)], str(folder / "purified"), accelerator="cpu")
    assert len(purify_files(MeanFilter(), job)) == len(purify_files(MeanFilter(), job)) == 5


class Counting(Purifier):
    """The identity, which remembers the lengths that it was given."""

    def __init__(self):
        super().__init__()
        self.lengths = []

    def purify(self, waveform, text):
        """(batch, time) -> the same."""
        self.lengths.append(waveform.shape[1])
        return waveform


@pytest.mark.parametrize("length", [3000, 16_000, 16_001, 40_000, 123_457])
def test_long_recordings_are_purified_in_pieces_without_seams(length):
    waveform, purifier = torch.randn(length, generator=torch.Generator().manual_seed(0)), Counting()
    assert torch.allclose(purify_long(purifier, waveform, None, 16_000), waveform, atol=1e-6)
    assert max(purifier.lengths) <= 16_000
    assert len(purifier.lengths) == max(1, -(-(length - 4000) // 12_000))
    filtered = purify_long(MeanFilter(5), waveform, None, 16_000)
    difference = (filtered - MeanFilter(5)(waveform[None])[0]).abs()
    assert (difference > 1e-5).sum() <= 4 * (len(purifier.lengths) - 1), "a filter's ends, faded out"


def write(path, seconds=0.5):
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = 0.1 * torch.randn(int(16_000 * seconds), generator=torch.Generator().manual_seed(0))
    buffer = io.BytesIO()  # libsndfile takes no name of stray bytes
    soundfile.write(buffer, samples.numpy(), 16_000, format="WAV")
    path.write_bytes(buffer.getvalue())


def test_folders_are_searched_as_those_of_a_corpus(tmp_path):
    """The formats, hidden folders, links in circles and look-alikes of `voxcert.data.files`."""
    folder = tmp_path / "in"
    for name in ("a.wav", "b.caf", "deep/c.sph", ".cache/hidden.wav", ".hidden.wav", "no_ending"):
        write(folder / name)
    (folder / "deep" / "up").symlink_to(folder)
    for name in ("memo.m4a", "deep/call.amr", "notes.txt"):
        (folder / name).write_bytes(b"x" * 20)
    counts = r"2 passed over \(1 .amr, 1 .m4a\), such as .*call.amr: their endings are not read here"
    with pytest.warns(UserWarning, match=counts), pytest.warns(UserWarning, match=r"no_ending: they look like audio"):
        found = find_files([str(folder)], str(tmp_path / "out"))
    assert {str(path.relative_to(folder)): place for path, place in found.items()} == {
        "a.wav": "a.wav",
        "b.caf": "b.flac",
        "deep/c.sph": "deep/c.flac",
    }


@pytest.mark.filterwarnings("ignore:1 passed over")
def test_a_folder_of_other_formats_alone_is_named(tmp_path):
    (tmp_path / "memo.m4a").write_bytes(b"x")
    with pytest.raises(ValueError, match="inputs must hold audio files"):
        find_files([str(tmp_path)], str(tmp_path / "out"))


LONG = "x" * 250
NAMES = [f"{LONG}.wav", f"{LONG}.au", f"{LONG}.mp3", "語" * 83 + ".wav", "語" * 84 + ".au"]


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_names_that_no_disk_could_hold_are_shortened(tmp_path, name):
    """Of 254 or 255 bytes, longer as FLAC or with a draft beside it."""
    folder = tmp_path / "in"
    write(folder / name)
    (row,) = purify_files(MeanFilter(3), settings(folder, tmp_path))
    assert row.failed is None
    assert row.file == f"{folder}/{name}"
    assert (tmp_path / "out" / row.output).stat().st_size > 1000
    assert (row.output == name) == name.endswith(".wav")
    stamp = (tmp_path / "out" / row.output).stat().st_mtime_ns
    assert purify_files(MeanFilter(3), settings(folder, tmp_path)) == [row]
    assert (tmp_path / "out" / row.output).stat().st_mtime_ns == stamp, "done already"
    assert not list((tmp_path / "out").rglob(".draft*"))


@pytest.mark.parametrize("name", ["\udcff.wav", "\udcff/é.au"])
def test_names_that_are_no_text_are_rows(tmp_path, name):
    write(tmp_path / "in" / name)
    (row,) = purify_files(MeanFilter(3), settings(tmp_path / "in", tmp_path))
    assert row.file == printable(f"{tmp_path}/in/{name}")
    assert row.failed == f"{row.file}: a name must be UTF-8 text; rename the file"


@pytest.mark.parametrize("name", ["/" + "y" * 5000, "deep/" * 1000 + "a.wav", "nul\0.wav", "語" * 200 + ".wav"])
def test_paths_that_no_file_can_have_are_rows(tmp_path, name):
    write(tmp_path / "good.wav")
    job = PurifySettings([str(tmp_path / "good.wav"), name], str(tmp_path / "out"), accelerator="cpu")
    good, bad = purify_files(MeanFilter(3), job)
    assert good.failed is None
    assert bad.file == name
    assert "missing: no such file" in bad.failed
    assert len(bad.failed) < 300


def test_what_is_not_finite_is_a_row(folder, tmp_path):
    class Broken(Purifier):
        """NaN."""

        def purify(self, waveform, text):
            """(batch, time) -> the same."""
            return waveform * float("nan")

    rows = purify_files(Broken(), settings(folder / "a.wav", tmp_path))
    assert [(row.output, row.failed) for row in rows] == [(None, "what the purifier returned is not finite")]
    assert not (tmp_path / "out" / "a.wav").exists()


def test_another_files_result_is_not_overwritten(tmp_path):
    for name in ("x", "y"):
        (tmp_path / name).mkdir()
        soundfile.write(tmp_path / name / "1.wav", 0.1 * torch.randn(8000).numpy(), 16_000)
    first = purify_files(GaussianFilter(2.0), settings(tmp_path / "x", tmp_path))
    kept = (tmp_path / "out" / "1.wav").read_bytes()
    with pytest.raises(ValueError, match=r"output_dir .*out has 1.wav of .*x/1.wav already, got .*y/1.wav for it"):
        purify_files(GaussianFilter(2.0), settings(tmp_path / "y", tmp_path))
    assert (tmp_path / "out" / "1.wav").read_bytes() == kept
    assert purify_files(GaussianFilter(2.0), settings(tmp_path / "x", tmp_path)) == first


def test_a_file_that_became_unreadable_has_no_result_any_more(folder, tmp_path):
    purify_files(MeanFilter(3), settings(folder, tmp_path))
    assert (tmp_path / "out" / "a.wav").is_file()
    (folder / "a.wav").write_bytes(b"")
    row = purify_files(MeanFilter(3), settings(folder, tmp_path))[0]
    assert row.output is None
    assert "0 bytes" in row.failed
    assert not (tmp_path / "out" / "a.wav").exists()
    assert (tmp_path / "out" / "deep" / "b.flac").is_file()


def test_failures_of_other_inputs_stay_in_the_rows(folder, tmp_path):
    purify_files(MeanFilter(3), settings(folder / "torn.mp3", tmp_path))
    purify_files(MeanFilter(3), settings(folder / "a.wav", tmp_path))
    rows = read_rows(tmp_path / "out" / "rows.jsonl", PurifiedRow)
    assert [(row.file, row.failed is None) for row in rows] == [
        (f"{folder}/a.wav", True),
        (f"{folder}/torn.mp3", False),
    ]


def test_a_file_whose_place_is_another_now_is_purified_there(folder, tmp_path):
    (first,) = purify_files(MeanFilter(3), settings(folder / "deep" / "b.ogg", tmp_path))
    rows = {row.file: row for row in purify_files(MeanFilter(3), settings(folder, tmp_path))}
    assert (first.output, rows[first.file].output) == ("b.flac", "deep/b.flac")
    assert (tmp_path / "out" / "deep" / "b.flac").read_bytes() == (tmp_path / "out" / "b.flac").read_bytes()
