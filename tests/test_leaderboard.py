"""Lines of docs/leaderboard.md follow one protocol; `test_results.py` measures one of them again."""

import shlex
from pathlib import Path

from voxcert.encoders.checkpoint import checkpoint_hash
from voxcert.evaluation.run.folder import read_summary
from voxcert.rows import read_rows
from voxcert.smoothing import Certificate

ROOT = Path(__file__).parents[1]
LINES = sorted((ROOT / "docs" / "results").glob("leaderboard-*"))


def test_every_line_has_its_command_and_all_recordings():
    assert LINES
    for line in LINES:
        summary = read_summary(line)
        words = shlex.split(summary["command"])
        assert words[:2] == ["python", "certify.py"]
        assert "configs/data/unseen.yaml" in words or "configs/certify/leaderboard.yaml" in words
        rows = [row for row in read_rows(line / "rows.jsonl.xz", Certificate) if row.rule == "vote"]
        number = 188 if "ecapa-mini" in " ".join(words) else 94
        assert (len(rows), len({row.speaker for row in rows})) == (number, 47)
        assert {(row.alpha, row.num_select) for row in rows} == {(1e-3, 64)}
        assert max(row.num_estimate for row in rows) == 1000
        assert summary["num_speakers"] == 325
        assert {row.sigma for row in rows} == {float(words[words.index("--sigma") + 1])}


def test_lines_of_bundled_checkpoints_are_about_the_weights_that_are_bundled():
    bundled = 0
    for line in LINES:
        places = [word for word in shlex.split(read_summary(line)["command"]) if word.startswith("checkpoints/")]
        for place in places:
            rows = read_rows(line / "rows.jsonl.xz", Certificate)
            assert {row.encoder for row in rows} == {checkpoint_hash(ROOT / place)}, line.name
        bundled += len(places)
    assert bundled >= 20
