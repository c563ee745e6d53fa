import pytest

from voxcert.evaluation.inversion.row import InversionRow
from voxcert.evaluation.inversion.tables import inversion_table, summarize_inversions

ROWS = [
    InversionRow("white, sliding", "ann", "ann", 1.0, 0.9, 0.1, 10, 0.6, 0.5, seconds=1.0),
    InversionRow("white, sliding", "bob", "bob", 0.5, 0.6, 0.2, 24, 0.8, 0.7, seconds=3.0),
    InversionRow("white, sliding", "cyd", "ann", 0.0, 0.1, 0.9, 30, 1.9, 1.8, seconds=2.0),
    InversionRow("white, sliding", "dan", failed="the descent left the range of numbers"),
    InversionRow("zeros, d_vector", "ann", "bob", 0.0, 0.1, 0.9, 30, 1.9, 1.8),
]


def test_distances_are_those_of_successes_and_failures_count_as_misses():
    white, zeros = summarize_inversions(ROWS)
    assert (white["speakers"], white["correct_speakers"], white["accuracy"], white["failed"]) == (4, 2, 0.5, 1)
    assert white["distance"] == pytest.approx(0.7)
    assert white["distance_deviation"] == pytest.approx(0.1)
    assert white["chunk_accuracy"] == pytest.approx(0.375)
    assert white["interval"] == pytest.approx([0.1500, 0.8500], abs=1e-4)  # Wilson 1927, 2 of 4 at 95 %
    assert zeros["distance"] is None


def test_the_table():
    table = inversion_table(summarize_inversions(ROWS), {"white, sliding": 0.2, "zeros, d_vector": 1.0})
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()]
    assert cells[0][3:5] == ["speakers", "failed"]
    assert cells[2] == [
        "white, sliding", "0.2", "50.0 % [15, 85]", "2 of 4", "1", "37.5 %", "0.700 ± 0.100", "16", "1.50"
    ]  # fmt: skip
    assert cells[3][3:5] == ["0 of 1", "0"]


def test_a_table_without_failures_has_no_column_for_them():
    done = [row for row in ROWS if row.failed is None]
    table = inversion_table(summarize_inversions(done), {"white, sliding": 0.2, "zeros, d_vector": 1.0})
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()]
    assert cells[0][3:5] == ["speakers", "chunks"]
    assert cells[2] == ["white, sliding", "0.2", "66.7 % [21, 94]", "2 of 3", "50.0 %", "0.700 ± 0.100", "21", "2.00"]
