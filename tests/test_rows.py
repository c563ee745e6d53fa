import errno
import json
import lzma
import os
import resource
from contextlib import contextmanager
from dataclasses import replace

import pytest

from voxcert.rows import RowWriter, read_rows, replace_rows
from voxcert.smoothing import Certificate

ROW = Certificate(
    utterance="spk/ü-1",
    speaker="a",
    prediction="a",
    rule="vote",
    radius=0.1234567890123456789,
    abstained=None,
    point_radius=0.2,
    sigma=0.01,
    alpha=1e-3,
    num_select=100,
    num_estimate=1000,
    num_forwards=1100,
    seconds=1.5,
    seed=3,
    encoder="abc",
    waveform_norm=12.5,
    num_samples=48_000,
    snr_db=40.1,
    radius_rms=5e-4,
)
FAILED = Certificate.failed("u2", "b", "vote", "no such file\nsecond line", sigma=0.01, alpha=1e-3, seed=3)


def test_rows_come_back_as_they_were(tmp_path):
    path = tmp_path / "new" / "rows.jsonl"
    with RowWriter(path) as writer:
        writer.write([ROW, replace(ROW, rule="mean")])
        writer.write([FAILED])
    with RowWriter(path) as writer:
        writer.write([replace(ROW, utterance="u3")])
    assert read_rows(path, Certificate) == [ROW, replace(ROW, rule="mean"), FAILED, replace(ROW, utterance="u3")]
    assert len(path.read_text().splitlines()) == 4


def test_rows_are_written_through(tmp_path):
    with RowWriter(tmp_path / "rows.jsonl") as writer:
        writer.write([ROW])
        assert read_rows(tmp_path / "rows.jsonl", Certificate) == [ROW]


@pytest.mark.parametrize("cut", [1, 2, 50, 300])
def test_a_torn_last_line_is_left_out_and_repaired(tmp_path, cut):
    path = tmp_path / "rows.jsonl"
    with RowWriter(path) as writer:
        writer.write([ROW, FAILED])
    path.write_bytes(path.read_bytes()[:-cut])
    assert read_rows(path, Certificate) == [ROW]
    with RowWriter(path) as writer:
        writer.write([FAILED])
    assert read_rows(path, Certificate) == [ROW, FAILED]


def test_a_line_torn_within_a_character_is_left_out(tmp_path):
    path = tmp_path / "rows.jsonl"
    data = (ROW.to_json() + "\n").encode()
    path.write_bytes(data + data[: data.index("ü".encode()) + 1])
    assert read_rows(path, Certificate) == [ROW]


@pytest.mark.parametrize("bad", ["{", "[]", "null", '{"utterance": "u"}', ""])
def test_a_corrupt_line_in_the_middle_is_an_error_with_its_number(tmp_path, bad):
    path = tmp_path / "rows.jsonl"
    path.write_text(f"{ROW.to_json()}\n{bad}\n{ROW.to_json()}\n")
    with pytest.raises(ValueError, match=r"rows\.jsonl, line 2: no Certificate"):
        read_rows(path, Certificate)


def test_a_compressed_file_is_read_whole_or_not_at_all(tmp_path):
    path, lines = tmp_path / "rows.jsonl.xz", [replace(ROW, seed=seed) for seed in range(100)]
    whole = lzma.compress("".join(row.to_json() + "\n" for row in lines).encode())
    path.write_bytes(whole)
    assert read_rows(path, Certificate) == lines
    half = len(whole) // 2
    damaged = [whole[:half], whole[:-1], whole[:-8] + bytes(8), whole[:half] + b"\xff" * 100 + whole[half:], b"no xz"]
    for content in damaged:
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"rows.jsonl.xz: damaged after line \d+ \(.+\)"):
            read_rows(path, Certificate)


def test_unknown_or_missing_keys_are_refused():
    values = json.loads(ROW.to_json())
    with pytest.raises(ValueError, match="keys"):
        Certificate.from_json(json.dumps(values | {"more": 1}))
    with pytest.raises(ValueError, match="keys"):
        Certificate.from_json(json.dumps({key: value for key, value in values.items() if key != "radius"}))


def test_a_row_older_than_a_field_has_its_default():
    values = json.loads(replace(ROW, encoder="abc").to_json())
    del values["encoder"]
    assert Certificate.from_json(json.dumps(values)) == replace(ROW, encoder="")


def test_numbers_that_json_lacks_are_refused():
    with pytest.raises(ValueError, match="JSON"):
        replace(ROW, radius=float("nan")).to_json()
    with pytest.raises(ValueError, match="JSON"):
        replace(ROW, snr_db=float("inf")).to_json()


def test_no_file_has_no_rows(tmp_path):
    assert read_rows(tmp_path / "rows.jsonl", Certificate) == []


def test_a_file_is_replaced_as_a_whole(tmp_path):
    path = tmp_path / "new" / "rows.jsonl"
    replace_rows(path, [ROW, FAILED])
    replace_rows(path, [FAILED])
    assert read_rows(path, Certificate) == [FAILED]
    assert [one.name for one in path.parent.iterdir()] == ["rows.jsonl"]


def test_failures_are_rows_with_a_reason():
    assert (FAILED.radius, FAILED.prediction, FAILED.num_forwards) == (0.0, "", 0)
    assert FAILED.abstained == "no such file\nsecond line"
    assert not FAILED.correct
    assert not replace(FAILED, speaker="").correct
    assert Certificate.from_json(FAILED.to_json()) == FAILED


def test_a_radius_is_that_of_the_true_speaker():
    right = replace(ROW, prediction=ROW.speaker, radius=0.25, abstained=None)
    wrong, undecided = replace(right, prediction="someone else"), replace(right, abstained="undecided")
    assert [row.certified for row in (right, wrong, undecided, FAILED)] == [True, False, False, False]
    assert [row.certified_radius for row in (right, wrong, undecided, FAILED)] == [0.25, 0.0, 0.0, 0.0]


@contextmanager
def no_space_beyond(size):
    """Lets no file grow beyond so many bytes: the system's calls fail and cut short as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_names_the_file_and_what_is_written_is_kept(tmp_path):
    path = tmp_path / "rows.jsonl"
    size = len(ROW.to_json().encode()) + 1
    with RowWriter(path) as writer, no_space_beyond(size * 3 // 2):
        writer.write([ROW])
        with pytest.raises(OSError, match="File too large: ") as error:
            writer.write([FAILED])
    assert error.value.filename == str(path)
    assert path.stat().st_size == size * 3 // 2, "a part of the second row went down"
    assert read_rows(path, Certificate) == [ROW]
    with RowWriter(path) as writer:
        writer.write([FAILED])
    assert read_rows(path, Certificate) == [ROW, FAILED]


def test_a_full_disk_leaves_the_file_that_was_to_be_replaced(tmp_path):
    path = tmp_path / "rows.jsonl"
    replace_rows(path, [ROW])
    with no_space_beyond(100), pytest.raises(OSError, match="File too large: ") as error:
        replace_rows(path, [ROW, FAILED])
    assert error.value.filename == str(path)
    assert [one.name for one in tmp_path.iterdir()] == ["rows.jsonl"]
    assert read_rows(path, Certificate) == [ROW]


@pytest.mark.parametrize("what", ["removed", "moved", "replaced"])
def test_rows_are_not_written_to_a_file_that_is_not_there(tmp_path, what):
    path = tmp_path / "run" / "rows.jsonl"
    with RowWriter(path) as writer:
        writer.write([ROW])
        path.rename(tmp_path / "elsewhere")
        path.parent.rmdir() if what == "removed" else None
        replace_rows(path, []) if what == "replaced" else None
        with pytest.raises(FileNotFoundError) as error:
            writer.write([FAILED])
    assert (error.value.errno, error.value.filename) == (errno.ENOENT, str(path))
    assert os.stat(tmp_path / "elsewhere").st_size == len(ROW.to_json().encode()) + 1
