"""What a Parquet file says is what the rows said."""

import json
import sys
from dataclasses import dataclass

import pytest

from voxcert.evaluation.run import parquet
from voxcert.evaluation.run.parquet import write_parquet
from voxcert.rows import Row


@dataclass(frozen=True)
class Mixed(Row):
    """A field of every kind that rows have."""

    name: str
    score: float
    snr_db: float | None
    count: int
    right: bool
    reason: str | None
    bounds: list[float]
    settings: dict[str, int]

    @property
    def key(self):
        """The name."""
        return (self.name,)


def mixed(number, **changes):
    values = {"name": f"ü{number}", "score": number / 7, "snr_db": None if number % 3 else -0.1 * number}
    values |= {"count": number, "right": number % 2 == 0, "reason": "silent" if number % 2 else None}
    return Mixed(**values | {"bounds": [0.1] * (number % 3), "settings": {"steps": number}} | changes)


@pytest.mark.parametrize("number", [0, 1, 10])
def test_rows_are_read_back(tmp_path, monkeypatch, number):
    tables = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr(parquet, "CHUNK", 4)
    rows, path = [mixed(one) for one in range(number)], tmp_path / "new" / "rows.parquet"
    assert write_parquet(iter(rows), Mixed, path) == number
    table = tables.read_table(path)
    assert [str(field.type) for field in table.schema] == [
        *("string", "double", "double", "int64", "bool", "string", "list<element: double>", "string")
    ]
    found = [values | {"settings": json.loads(values["settings"])} for values in table.to_pylist()]
    assert found == [vars(row) for row in rows]
    assert [one.name for one in path.parent.iterdir()] == [path.name]


def test_an_old_file_is_left_where_rows_fail(tmp_path):
    pytest.importorskip("pyarrow")
    path = tmp_path / "rows.parquet"
    path.write_text("old")

    def rows():
        yield mixed(1)
        raise ValueError("line 2")

    with pytest.raises(ValueError, match="line 2"):
        write_parquet(rows(), Mixed, path)
    with pytest.raises(ValueError, match=r"rows\.parquet cannot hold all values of the rows"):
        write_parquet([mixed(1, count=2**70)], Mixed, path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_missing_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ValueError, match=r'need pyarrow: pip install "voxcert\[parquet\]"'):
        write_parquet([mixed(1)], Mixed, tmp_path / "rows.parquet")
