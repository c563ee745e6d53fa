"""Folders of killed, continued and foreign runs."""

import pytest

from voxcert.evaluation.certification.folder import read_run
from voxcert.evaluation.run.folder import (
    ROWS,
    check_settings,
    endings,
    file_name,
    read_config,
    read_summary,
    write_config,
)
from voxcert.rows import replace_rows


def test_other_settings_are_refused_by_name(tmp_path):
    write_config(tmp_path, {"sigma": 0.01, "data": {"seed": 0, "num_workers": 2}, "devices": 1, "radii": (0.0, 1.0)})
    check_settings(tmp_path, {"sigma": 0.01, "data": {"seed": 0, "num_workers": 0}, "devices": 2, "radii": [0.0, 1.0]})
    with pytest.raises(ValueError, match=r"sigma is 0\.01 there, got 0\.02"):
        check_settings(tmp_path, {"sigma": 0.02, "data": {"seed": 0}, "radii": [0.0, 1.0]})
    with pytest.raises(ValueError, match=r"data\.seed is 0 there, got 1; sigma is 0\.01 there, got 'nothing'"):
        check_settings(tmp_path, {"data": {"seed": 1}, "radii": [0.0, 1.0]})


def test_a_kind_of_run_has_settings_of_its_own_that_may_differ(tmp_path):
    write_config(tmp_path, {"sigma": 0.01, "minutes": 30})
    check_settings(tmp_path, {"sigma": 0.01, "minutes": 60}, may_differ=("minutes", "budgets"))
    with pytest.raises(ValueError, match="other settings: sigma is 0.01 there, got 0.02"):
        check_settings(tmp_path, {"sigma": 0.02, "minutes": 60}, may_differ=("minutes",))
    with pytest.raises(ValueError, match="other settings: minutes is 30 there, got 60"):
        check_settings(tmp_path, {"sigma": 0.01, "minutes": 60})


def test_pictures_that_would_not_be_drawn_any_more_are_refused(tmp_path):
    write_config(tmp_path, {"sigma": 0.01, "plot": 0})
    with pytest.raises(ValueError, match="plot is 0 there, got 3"):
        check_settings(tmp_path, {"sigma": 0.01, "plot": 3})


def test_a_new_folder_fits_any_settings(tmp_path):
    check_settings(tmp_path / "new", {"sigma": 0.01})
    assert read_config(tmp_path / "new") is None


def test_rows_of_unknown_settings_are_refused(certificate, tmp_path):
    replace_rows(tmp_path / ROWS, [certificate()])
    with pytest.raises(ValueError, match=r"rows\.jsonl but without config\.yaml"):
        check_settings(tmp_path, {})


def test_config_that_is_none_is_refused(tmp_path):
    (tmp_path / "config.yaml").write_text("just a text")
    with pytest.raises(ValueError, match="is not the config of a run"):
        read_config(tmp_path)


def test_unfinished_runs_are_told(tmp_path):
    with pytest.raises(ValueError, match=r"finished run, got one without summary\.json"):
        read_summary(tmp_path)
    with pytest.raises(ValueError, match="got one without rows"):
        read_run(tmp_path)


def test_a_hash_that_looks_like_a_number_stays_a_text(tmp_path):
    write_config(tmp_path, {"checkpoint_hash": "123456789012e345", "sigma": 1e-05})
    assert (tmp_path / "config.yaml").read_text() == "checkpoint_hash: '123456789012e345'\nsigma: 1.0e-05\n"
    assert read_config(tmp_path) == {"checkpoint_hash": "123456789012e345", "sigma": 1e-05}


@pytest.mark.parametrize("name", ["a/b", "ä ö", ".", "語" * 300, "語" * 300 + "!", "x" * 5000, "\udcff"])
def test_files_can_be_named_after_anything(name, tmp_path):
    others = {file_name(other) for other in ("a/b", "ä ö", "語" * 300, "語" * 300 + "!", "x" * 5000) if other != name}
    assert file_name(name) not in others
    (tmp_path / f"{file_name(name)}--{file_name(name)}.flac").write_text("made")
    assert len(list(tmp_path.iterdir())) == 1


def test_a_run_from_before_a_setting_was_there_goes_on(tmp_path):
    write_config(tmp_path, {"sigma": 0.1})
    check_settings(tmp_path, {"sigma": 0.1, "start": "utterance", "judge": None, "plot": 0})
    with pytest.raises(ValueError, match="start is 'nothing' there, got 'white'"):
        check_settings(tmp_path, {"sigma": 0.1, "start": "white", "judge": None})


def test_runs_that_would_be_called_the_same_are_told_apart_by_the_end_of_their_folders(tmp_path):
    folders = [tmp_path / one for one in ("a/en/certify", "b/en/certify", "de/certify", "verify")]
    ends = [" (a/en/certify)", " (b/en/certify)", " (de/certify)", " (verify)", " (in memory)"]
    assert endings(["name"] * 5, [*folders, None]) == ends
    assert endings(["one", "two", "one", "three"], folders) == [" (en/certify)", "", " (de/certify)", ""]
    assert endings(["name"] * 2, folders[:1] * 2) == [" (certify)"] * 2, "there is nothing to tell apart"


def test_a_damaged_summary_is_named(tmp_path):
    for text in ('{"rules": ', "[1]", ""):
        (tmp_path / "summary.json").write_text(text)
        with pytest.raises(ValueError, match=r"summary\.json is not the summary of a run, a JSON object: "):
            read_summary(tmp_path)
