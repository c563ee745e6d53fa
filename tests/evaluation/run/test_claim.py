"""A folder without a result takes other settings, and nothing of the old ones stays; one with a result is refused."""

import pytest
import torch
from lightning.fabric.utilities.rank_zero import rank_zero_only

from voxcert.data.identity import Planned, write_plan
from voxcert.evaluation.audit.job import DATA
from voxcert.evaluation.certification.folder import PROTOTYPES, read_prototypes, write_prototypes
from voxcert.evaluation.defence import system
from voxcert.evaluation.run.claim import ENROLLED, PREPARED, claim
from voxcert.evaluation.run.folder import CONFIG, PLAN, ROWS, write_config
from voxcert.evaluation.run.job import started
from voxcert.evaluation.run.lock import locked
from voxcert.evaluation.verification.cohort import COHORT
from voxcert.rows import replace_rows

OLD, NEW = {"sigma": 0.1}, {"sigma": 0.2}


def plan(content="a"):
    return [Planned("test", "x", "anna", 0.0, None, "", None, content)]


@pytest.fixture
def refused(tmp_path):
    """What a run leaves that was refused after the enrolment."""
    write_plan(plan(), tmp_path / PLAN)
    write_config(tmp_path, OLD)
    write_prototypes(tmp_path, torch.eye(2), ["anna", "ben"])
    write_prototypes(tmp_path / ENROLLED / "none" / "hash", torch.eye(2), ["anna", "ben"])
    (tmp_path / ROWS).touch()
    return tmp_path


def files(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file() and path.name not in (".lock", ".running"))


@pytest.mark.parametrize(("config", "content"), [(NEW, "a"), (OLD, "b")])
def test_a_folder_without_a_row_takes_other_settings_and_data(refused, config, content):
    with locked(refused):
        claim(refused, config, plan(content))
    assert files(refused) == [ROWS], "nothing is left that another run would take for its own"
    assert read_prototypes(refused) is None
    claim(refused, config, plan(content))  # and it goes on as a new one


def test_the_same_settings_keep_what_was_enrolled(refused):
    before = files(refused)
    claim(refused, OLD, plan())
    assert files(refused) == before


@pytest.mark.parametrize("place", [ROWS, "rows.rank1.jsonl", f"parts/{ROWS}", f"plan/{ROWS}"])
def test_a_row_anywhere_keeps_the_folder(refused, certificate, place):
    replace_rows(refused / place, [certificate()])
    before = files(refused)
    with pytest.raises(ValueError, match="sigma is 0.1 there, got 0.2"):
        claim(refused, NEW, plan())
    with pytest.raises(ValueError, match="other data: 1 changed"):
        claim(refused, OLD, plan("b"))
    assert files(refused) == before


def test_files_of_others_keep_the_folder(refused):
    (refused / "thesis.tex").touch()
    with pytest.raises(ValueError, match="other settings"):
        claim(refused, NEW, plan())
    assert (refused / PROTOTYPES).is_file()


def test_a_config_that_somebody_wrote_is_not_forgotten(tmp_path):
    write_config(tmp_path, OLD)
    with pytest.raises(ValueError, match="other settings"):
        claim(tmp_path, NEW, plan())
    assert files(tmp_path) == [CONFIG]


def test_only_the_first_process_forgets(refused, monkeypatch):
    before = files(refused)
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    claim(refused, NEW, plan())
    assert files(refused) == before


def test_a_run_that_was_killed_while_it_forgot_is_forgotten_by_the_next(refused):
    (refused / PROTOTYPES).unlink()
    (refused / PLAN).unlink()
    claim(refused, OLD, plan())
    assert files(refused) == [ROWS]


def test_who_stops_a_job_is_told_that_it_goes_on(tmp_path):
    with pytest.raises(KeyboardInterrupt, match="the same command goes on"), started(tmp_path, OLD, plan(), "cpu"):
        raise KeyboardInterrupt
    with locked(tmp_path):
        assert (tmp_path / PLAN).is_file()


def test_the_names_are_those_of_the_jobs():
    assert {PROTOTYPES, COHORT, DATA, PLAN, CONFIG} == set(PREPARED)
    assert system.ENROLLED == ENROLLED
