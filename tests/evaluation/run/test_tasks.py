"""Rows of any number of processes become one file in the plan's order, whatever they left behind."""

import random
from dataclasses import dataclass

import pytest

from voxcert.evaluation.run.folder import ROWS
from voxcert.evaluation.run.tasks import Task, merge_rows, rows_path, unfinished
from voxcert.rows import Row, RowWriter, read_rows, replace_rows

RULES = ("plain", "double")


@dataclass(frozen=True)
class Square(Row):
    """A number and a rule's result; words make lines of different lengths."""

    number: int
    rule: str
    value: int
    words: str = ""

    @property
    def key(self):
        """Number and rule."""
        return self.number, self.rule


def task(number):
    return Task(number, tuple((number, rule) for rule in RULES))


def squares(number, words=""):
    return [Square(number, "plain", number**2, words), Square(number, "double", 2 * number**2, words)]


def write(folder, rank, rows):
    with RowWriter(rows_path(folder, rank)) as writer:
        writer.write(rows)


def merge(folder, tasks, counts=lambda row: True):
    return merge_rows(folder, Square, tasks, counts)


def reference(folder, tasks, counts):
    """What is to be in the file, and which rows are of the plan: of every key the last row of the last file."""
    found = {row.key: row for path in sorted(folder.glob("rows*.jsonl")) for row in read_rows(path, Square)}
    planned = {key for one in tasks for key in one.keys}
    found = {key: row for key, row in found.items() if key not in planned or counts(row)}
    done = [key for one in tasks if all(key in found for key in one.keys) for key in one.keys]
    return [found[key] for key in done], [row for key, row in found.items() if key not in planned]


@pytest.mark.parametrize("seed", range(5))
def test_merging_is_that_of_a_table_in_memory(tmp_path, seed):
    generator = random.Random(seed)
    tasks = [task(number) for number in generator.sample(range(40), 30)]
    for rank in range(3):
        for number in generator.sample(range(40), 20):
            rows = squares(number, "é" * generator.randrange(9))
            write(tmp_path, rank, rows[: generator.choice([1, 2, 2, 2])])
    rows, others = reference(tmp_path, tasks, lambda row: True)
    assert list(merge(tmp_path, tasks)) == rows
    assert [path.name for path in tmp_path.iterdir()] == [ROWS]
    kept = read_rows(tmp_path / ROWS, Square)
    assert kept[: len(rows)] == rows
    assert sorted(kept[len(rows) :], key=lambda row: row.key) == sorted(others, key=lambda row: row.key)
    done = {row.number for row in rows}
    todo = [one.about for one in unfinished(tasks, (row.key for row in kept))]
    assert todo == [one.about for one in tasks if one.about not in done]


def test_merging_twice_changes_nothing(tmp_path):
    tasks = [task(number) for number in (3, 1, 2)]
    write(tmp_path, 0, squares(2))
    write(tmp_path, 1, [*squares(7), *squares(3)])
    assert list(merge(tmp_path, tasks)) == [*squares(3), *squares(2)]
    once = (tmp_path / ROWS).read_bytes()
    assert list(merge(tmp_path, tasks)) == [*squares(3), *squares(2)]
    assert (tmp_path / ROWS).read_bytes() == once


def test_lines_are_copied_as_they_are(tmp_path):
    """A line of an earlier version, without a field that has a default by now."""
    line = '{"number":  3, "rule": "plain", "value": 9}\n'
    (tmp_path / "rows.rank1.jsonl").write_text(line + '{"number": 1, "ru')
    assert list(merge(tmp_path, [Task(3, ((3, "plain"),))])) == squares(3)[:1]
    assert (tmp_path / ROWS).read_text() == line


def test_rows_that_do_not_count_are_gone(tmp_path):
    write(tmp_path, 0, [*squares(1), *squares(2)])
    assert list(merge(tmp_path, [task(1), task(2)], lambda row: row.number == 2)) == squares(2)
    assert read_rows(tmp_path / ROWS, Square) == squares(2)


def test_a_task_without_rows_is_finished():
    assert unfinished([Task(0, ()), task(1), Task(2, ())], iter([])) == [task(1)]


def test_a_torn_line_is_cut_off_a_long_file(tmp_path):
    path = tmp_path / ROWS
    replace_rows(path, [row for number in range(2000) for row in squares(number, "long " * 9)])
    whole = path.read_bytes()
    for torn in (b"", b'{"number": 1', b"x" * 200_000):
        path.write_bytes(whole + torn)
        RowWriter(path).close()
        assert path.read_bytes() == whole


def test_rows_that_do_not_count_are_dropped_only_where_a_task_is_about_them(tmp_path):
    write(tmp_path, 0, [*squares(1, "failed"), *squares(2, "failed"), *squares(3)])
    assert list(merge(tmp_path, [task(1), task(3)], lambda row: row.words != "failed")) == squares(3)
    assert read_rows(tmp_path / ROWS, Square) == [*squares(3), *squares(2, "failed")]
