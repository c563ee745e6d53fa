"""What a user types: `voxcert rows`, which writes what a run's rows say for tools that read tables."""

import json

import pytest

from voxcert.cli import main
from voxcert.evaluation.attack.row import AttackRow
from voxcert.evaluation.run.folder import ROWS, write_config
from voxcert.rows import replace_rows
from voxcert.smoothing import Certificate, CertifiedScore

ABOUT = {"sigma": 0.1, "alpha": 1e-3, "num_select": 10, "num_estimate": 100, "num_forwards": 110, "seconds": 1.0}
ABOUT |= {"utterance": "u1", "speaker": "a", "seed": 0}
ROWS_OF = {
    "certification": Certificate(**ABOUT, prediction="a", rule="vote", radius=0.1, abstained=None, point_radius=0.2),
    "verification": CertifiedScore(
        **ABOUT,
        **{"claim": "b", "verifier": "vote", "open_set": False, "enrolled": True, "score": 0.5, "failed": None},
        **{"radii": [0.0, 0.1], "lower": [0.4, 0.2], "upper": [0.6, 0.7]},
    ),
    "attack": AttackRow("u1", "a", None, "csi", "a", "pgd", {"epsilon": 0.01}, 0),
}
CONFIGS = {"certification": {}, "verification": {"task": "verification"}, "attack": {"attack": {}}}


@pytest.mark.parametrize("kind", ROWS_OF)
def test_rows_of_a_run_become_a_table(tmp_path, capsys, kind):
    tables = pytest.importorskip("pyarrow.parquet")
    row, path = ROWS_OF[kind], tmp_path / "rows.parquet"
    write_config(tmp_path / "run", CONFIGS[kind])
    replace_rows(tmp_path / "run" / ROWS, [row])
    main(["rows", str(tmp_path / "run"), str(path)])
    assert capsys.readouterr().out == f"{path}: 1 rows\n"
    (found,) = tables.read_table(path).to_pylist()
    if kind == "attack":
        found["attack_settings"] = json.loads(found["attack_settings"])
    assert found == vars(row)


def test_a_folder_without_rows_is_named(tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["rows", str(tmp_path), str(tmp_path / "rows.parquet")])
    assert capsys.readouterr().err == f"error: run must be a folder with rows, got {tmp_path} without rows.jsonl\n"


@pytest.mark.parametrize("name", [ROWS, "config.yaml", "x.csv", "parquet"])
def test_only_parquet_files_are_written(tmp_path, capsys, name):
    write_config(tmp_path, {})
    replace_rows(tmp_path / ROWS, [ROWS_OF["certification"]])
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(SystemExit, match="2"):
        main(["rows", str(tmp_path), str(tmp_path / name)])
    assert capsys.readouterr().err == f"error: file must end in .parquet, such as rows.parquet, got {tmp_path / name}\n"
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_rows_that_are_not_merged_yet_are_spoken_of(tmp_path, capsys):
    pytest.importorskip("pyarrow")
    write_config(tmp_path, {})
    for name in (ROWS, "rows.rank1.jsonl"):
        replace_rows(tmp_path / name, [ROWS_OF["certification"]])
    main(["rows", str(tmp_path), str(tmp_path / "rows.parquet")])
    assert "without the rows of other processes: start the run again to merge them" in capsys.readouterr().err
