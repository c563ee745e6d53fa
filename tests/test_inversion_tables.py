"""Tables of inversion: printed numbers stand beside the start and method that they are about."""

import pytest
from inversion_tables import beside_pizzi, side_by_side
from scipy.stats import ttest_1samp

from table_cells import cells
from voxcert.evaluation.inversion.row import InversionRow


def row(experiment, speaker, named, distance=0.9):
    return InversionRow(experiment, speaker, named, distance=distance)


def test_a_printed_number_stands_beside_the_same_start_and_method():
    rows = [row("white noise, standard", "a", "a"), row("white noise, standard", "b", "a")]
    rows += [row("my own, sliding", "a", "a", 0.8), row("zeros, d_vector", "a", "a")]
    white, own, zeros, vectors = (cells(line) for line in beside_pizzi(rows).splitlines()[2:])
    assert white == [
        "white noise",
        "54.11 / 0.80 ± 0.05",
        "50.0 [9.5, 90.5]",
        "0.90 ± 0.00",
        "88.31 / 0.76 ± 0.06",
        "",
        "",
    ]
    assert own == ["my own", "", "", "", "", "100.0 [20.7, 100.0]", "0.80 ± 0.00"]
    assert zeros == ["zeros", "0.65 / 0.79 ± 0.04", "", "", "8.87 / 0.72 ± 0.07", "", ""]
    assert vectors[:4] == ["d-vectors, from zeros", "100 / 0.84 ± 0.03", "100.0 [20.7, 100.0]", "0.90 ± 0.00"]


def test_a_mean_distance_has_students_interval():
    distances = [0.7, 0.8, 1.0, 1.3]
    rows = [row("white noise, standard", str(i), str(i), distance) for i, distance in enumerate(distances)]
    (line,) = map(cells, beside_pizzi(rows).splitlines()[2:])
    low, high = ttest_1samp(distances, 0).confidence_interval(0.95)
    assert line[3] == f"0.95 ± 0.23 [{low:.2f}, {high:.2f}]"


def test_runs_of_the_same_experiments_stand_side_by_side():
    command = "voxcert invert --checkpoint checkpoints/mini --config white.yaml"
    summary = {"command": f"{command} --cost log_posterior", "baselines": {"held_out": {"utterance_error": 0.25}}}
    rows = [row("white noise, standard", "a", "b", None), row("zeros, d_vector", "a", "a")]
    plain = summary | {"command": command}
    heading, _, *lines = side_by_side([("one", summary, rows), ("two", plain, rows)]).splitlines()
    assert cells(heading)[3:5] == ["white noise, standard: %", "zeros, d-vectors: %"]
    assert cells(lines[0])[:4] == ["mini", "`--cost log_posterior`", "25.0", "0.0 [0.0, 79.3]"]
    assert cells(lines[0])[4:] == ["100.0 [20.7, 100.0]", "1", "`one`"]
    assert cells(lines[1])[1] == ""
    with pytest.raises(ValueError, match="runs must be of the same experiments, got zeros, d-vectors: % of two"):
        side_by_side([("one", summary, rows), ("two", plain, rows[1:])])
