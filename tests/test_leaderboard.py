"""Lines of docs/leaderboard.md follow one protocol; `test_results.py` measures one of them again."""

import shlex
from pathlib import Path

from voxcert.evaluation.run.folder import read_summary
from voxcert.rows import read_rows
from voxcert.smoothing import Certificate

LINES = sorted((Path(__file__).parents[1] / "docs" / "results").glob("leaderboard-*"))


def test_every_line_has_its_command_and_all_recordings():
    assert LINES
    for line in LINES:
        words = shlex.split(read_summary(line)["command"])
        assert words[:2] == ["python", "certify.py"]
        assert "configs/data/unseen.yaml" in words or "configs/certify/leaderboard.yaml" in words
        rows = [row for row in read_rows(line / "rows.jsonl.gz", Certificate) if row.rule == "vote"]
        number = 188 if "ecapa-mini" in " ".join(words) else 94
        assert (len(rows), len({row.speaker for row in rows})) == (number, 47)
        assert {(row.alpha, row.num_select) for row in rows} == {(1e-3, 64)}
        assert max(row.num_estimate for row in rows) == 1000
