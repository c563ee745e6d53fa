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
