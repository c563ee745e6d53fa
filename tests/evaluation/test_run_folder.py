"""Folders of killed, continued and foreign runs."""

import pytest

from voxcert.evaluation.run_folder import (
    ROWS,
    check_settings,
    merge_rows,
    open_rows,
    read_config,
    read_finished,
    read_run,
    read_summary,
    write_config,
)

RULES = ["distribution", "vote"]


def write(folder, rank, rows):
    with open_rows(folder, rank) as writer:
        for row in rows:
            writer.write(row)


def test_merge_sorts_completes_and_removes_parts(certificate, tmp_path):
    pair = {name: [certificate(rule, utterance=name) for rule in RULES] for name in ("u0", "u1", "u2")}
    write(tmp_path, 0, pair["u2"])
    write(tmp_path, 1, [*pair["u0"], pair["u1"][0]])  # killed between the two rows of u1
    write(tmp_path, 2, pair["u0"])  # made twice, by a process that outlived its run
    rows = merge_rows(tmp_path, RULES)
    assert [(row.utterance, row.rule) for row in rows] == [(u, rule) for u in ("u0", "u2") for rule in RULES]
    assert [path.name for path in tmp_path.iterdir()] == [ROWS]
    assert read_finished(tmp_path, RULES) == rows == read_run(tmp_path)
    assert merge_rows(tmp_path, RULES) == rows


def test_torn_last_line_is_dropped(certificate, tmp_path):
    write(tmp_path, 0, [certificate("vote")])
    with (tmp_path / ROWS).open("a") as file:
        file.write('{"utterance": "u1", "spe')
    assert [row.utterance for row in merge_rows(tmp_path, ["vote"])] == ["u0"]
    assert (tmp_path / ROWS).read_text().endswith("}\n")


def test_other_settings_are_refused_by_name(tmp_path):
    write_config(tmp_path, {"sigma": 0.01, "data": {"seed": 0, "num_workers": 2}, "devices": 1, "radii": (0.0, 1.0)})
    check_settings(tmp_path, {"sigma": 0.01, "data": {"seed": 0, "num_workers": 0}, "devices": 2, "radii": [0.0, 1.0]})
    with pytest.raises(ValueError, match=r"sigma is 0\.01 there, got 0\.02"):
        check_settings(tmp_path, {"sigma": 0.02, "data": {"seed": 0}, "radii": [0.0, 1.0]})
    with pytest.raises(ValueError, match=r"data\.seed is 0 there, got 1; sigma is 0\.01 there, got 'nothing'"):
        check_settings(tmp_path, {"data": {"seed": 1}, "radii": [0.0, 1.0]})


def test_a_new_folder_fits_any_settings(tmp_path):
    check_settings(tmp_path / "new", {"sigma": 0.01})
    assert read_config(tmp_path / "new") is None


def test_rows_of_unknown_settings_are_refused(certificate, tmp_path):
    write(tmp_path, 0, [certificate()])
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
