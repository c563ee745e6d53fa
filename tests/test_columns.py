"""Columns are the rows that were put in, whatever they hold, and a field of all of them is an array."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from voxcert.columns import CHUNK, Columns


@dataclass(frozen=True)
class Mixed:
    """A field of every kind that rows have."""

    name: str
    score: float
    snr_db: float | None
    count: int
    right: bool
    reason: str | None
    bounds: list[float]
    limit: int | None = None


def mixed(number):
    loud = None if number % 3 else -0.5 * number
    reason = "silent" if number % 2 else None
    return Mixed(f"u{number}", number / 7, loud, number - 5, number % 2 == 0, reason, [0.1, number], number or None)


ROWS = [mixed(number) for number in range(CHUNK + 10)]


def test_rows_come_back_as_they_were():
    columns = Columns(Mixed, iter(ROWS))
    assert list(columns) == ROWS
    assert len(columns) == len(ROWS)
    assert (columns[3], columns[-1]) == (ROWS[3], ROWS[-1])
    assert [type(value) for value in vars(columns[2]).values()] == [type(value) for value in vars(ROWS[2]).values()]
    with pytest.raises(IndexError):
        columns[len(ROWS)]


def test_a_field_of_all_rows():
    columns = Columns(Mixed, ROWS)
    assert columns.column("score").tolist() == [row.score for row in ROWS]
    assert columns.column("count").dtype == np.int64
    np.testing.assert_array_equal(
        columns.column("snr_db"), [np.nan if row.snr_db is None else row.snr_db for row in ROWS]
    )
    for name in ("name", "right", "reason", "bounds", "limit"):
        assert columns.column(name).tolist() == [getattr(row, name) for row in ROWS]
    assert columns.column("bounds").shape == (len(ROWS),)


def test_some_rows_share_what_is_kept_and_go_on_alone():
    columns = Columns(Mixed, ROWS)
    some = columns.take([5, 2, 5])
    assert list(some) == [ROWS[5], ROWS[2], ROWS[5]]
    assert some.column("name").tolist() == ["u5", "u2", "u5"]
    assert list(some.take(np.array([1]))) == list(some[1:2]) == [ROWS[2]]
    some.extend([ROWS[0]])
    assert list(some) == [ROWS[5], ROWS[2], ROWS[5], ROWS[0]]
    assert list(columns) == ROWS
    columns.extend([ROWS[1]])
    assert (columns[-1], some[-1]) == (ROWS[1], ROWS[0])


@pytest.mark.parametrize("change", [{"count": 2**70}, {"count": None}, {"score": "high"}, {"score": 10**400}])
def test_what_is_no_number_of_its_column_is_kept_too(change):
    rows = [*ROWS[:3], replace(ROWS[3], **change), ROWS[4]]
    columns = Columns(Mixed, rows[:2])
    columns.extend(rows[2:])
    assert list(columns) == rows


def test_columns_stay_as_they_are():
    columns = Columns(Mixed, ROWS[:2])
    assert Columns.of(Mixed, columns) is columns
    assert list(Columns.of(Mixed, ROWS[:2])) == ROWS[:2]
    assert not Columns(Mixed)
    assert Columns(Mixed).column("name").shape == (0,)
