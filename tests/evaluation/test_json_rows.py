from dataclasses import dataclass

import pytest

from voxcert.evaluation.json_rows import JsonRow, read_json_rows, rewrite_json_rows


@dataclass(frozen=True)
class Pair(JsonRow):
    """Two values."""

    name: str
    value: float | None = None


ROWS = [Pair("ä", 0.5), Pair("b")]


def test_rows_come_back_and_a_torn_line_does_not(tmp_path):
    path = tmp_path / "rows.jsonl"
    assert read_json_rows(path, Pair) == []
    rewrite_json_rows(path, ROWS)
    assert read_json_rows(path, Pair) == ROWS
    path.write_bytes(path.read_bytes()[:-3])
    assert read_json_rows(path, Pair) == ROWS[:1]


@pytest.mark.parametrize("line", ["no json", "[1]", '{"name": "a"}', '{"name": "a", "value": 1, "more": 2}'])
def test_what_is_no_row_is_named(tmp_path, line):
    path = tmp_path / "rows.jsonl"
    path.write_text(f"{ROWS[0].to_json()}\n{line}\n")
    with pytest.raises(ValueError, match="rows.jsonl, line 2: no Pair"):
        read_json_rows(path, Pair)


def test_json_has_no_nan():
    with pytest.raises(ValueError, match="not JSON compliant"):
        Pair("a", float("nan")).to_json()
