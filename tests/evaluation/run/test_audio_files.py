import resource

import pytest
import soundfile
import torch

from voxcert.data.audio import load
from voxcert.evaluation.run.audio_files import kept_path, write_rounded


def test_what_is_read_is_what_was_written(tmp_path):
    waveform = torch.linspace(-1, 1, 4001)
    for kind in ("flac", "wav"):
        path = tmp_path / "audio" / f"x.{kind}"
        written = write_rounded(path, waveform)
        assert soundfile.info(path).subtype == "PCM_16"
        assert torch.equal(written, load(path))
        inside = waveform < 1 - 2**-15  # full scale is one step too loud
        assert (written - waveform)[inside].abs().max() <= 2**-16
        assert written[-1] == 1 - 2**-15


def test_sixteen_bit_audio_is_not_changed(tmp_path):
    waveform = torch.randint(-(2**15), 2**15, (3000,), generator=torch.Generator().manual_seed(0)) / 2**15
    assert torch.equal(write_rounded(tmp_path / "x.flac", waveform), waveform)


def test_every_utterance_has_a_file_of_its_own_inside_the_folder():
    utterances = ["a/b", "a_b", "../b", "a%2Fb"]
    paths = {kept_path(utterance, None, "wav") for utterance in utterances}
    assert len(paths) == 4
    assert all(path.count("/") == 1 and path.startswith("audio/") for path in paths)
    assert kept_path("u", 0.05, "flac") == "audio/0.05/u.flac"


def test_a_full_disk_names_the_file_and_leaves_the_old_one(tmp_path):
    path, waveform = tmp_path / "x.flac", 0.1 * torch.rand(16_000, generator=torch.Generator().manual_seed(0))
    written, before = write_rounded(path, waveform / 2), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, before[1]))
    try:
        with pytest.raises(OSError, match="File too large") as error:
            write_rounded(path, waveform)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert error.value.filename == str(path)
    assert torch.equal(load(path), written)
    assert [one.name for one in tmp_path.iterdir()] == ["x.flac"]
