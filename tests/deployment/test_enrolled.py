import stat

import pytest
import torch

from voxcert.deployment.enrolled import EnrolledSpeakers


def test_in_memory_no_file_is_made(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with EnrolledSpeakers(":memory:", "system") as speakers:
        speakers.write("eve", torch.ones(4))
        assert list(speakers.read()) == ["eve"]
    assert not list(tmp_path.iterdir())


def test_keeps_names_and_prototypes(tmp_path):
    prototypes = {name: torch.randn(4) for name in ("eve", "ann", "Zoë O'Neil")}
    with EnrolledSpeakers(tmp_path / "a.sqlite", "system") as speakers:
        for name, prototype in prototypes.items():
            speakers.write(name, prototype)
        speakers.write("eve", prototypes["eve"] + 1)
    with EnrolledSpeakers(tmp_path / "a.sqlite", "system") as speakers:
        kept = speakers.read()
    assert list(kept) == ["ann", "Zoë O'Neil", "eve"], "as the recognizer, who enrols again at the end"
    assert torch.equal(kept["eve"], prototypes["eve"] + 1)
    assert torch.equal(kept["ann"], prototypes["ann"])


def test_others_may_not_read_a_new_file_and_an_old_one_keeps_its_rights(tmp_path):
    EnrolledSpeakers(tmp_path / "a.sqlite", "system").close()
    assert stat.S_IMODE((tmp_path / "a.sqlite").stat().st_mode) == 0o600
    (tmp_path / "a.sqlite").chmod(0o640)
    EnrolledSpeakers(tmp_path / "a.sqlite", "system").close()
    assert stat.S_IMODE((tmp_path / "a.sqlite").stat().st_mode) == 0o640


def test_one_process_has_the_file_at_a_time(tmp_path):
    with (
        EnrolledSpeakers(tmp_path / "a.sqlite", "system"),
        pytest.raises(
            ValueError, match=r"a\.sqlite must be a database of speakers that no other process uses: .*locked"
        ),
    ):
        EnrolledSpeakers(tmp_path / "a.sqlite", "system")
    EnrolledSpeakers(tmp_path / "a.sqlite", "system").close()


def test_speakers_of_another_system_are_refused(tmp_path):
    EnrolledSpeakers(tmp_path / "a.sqlite", "this").close()
    with pytest.raises(ValueError, match="must hold speakers of that, got speakers of this"):
        EnrolledSpeakers(tmp_path / "a.sqlite", "that")


def test_what_is_no_database_is_refused(tmp_path):
    (tmp_path / "a.sqlite").write_bytes(b"not a database" * 100)
    for path in (tmp_path / "a.sqlite", tmp_path, tmp_path / "missing" / "a.sqlite"):
        with pytest.raises(ValueError, match="must be a database of speakers"):
            EnrolledSpeakers(path, "system")
