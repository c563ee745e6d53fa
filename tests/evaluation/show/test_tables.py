import math

import numpy as np
import pytest

from voxcert.evaluation.show.tables import percent, percent_with_interval, render_table, rounded_down


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.01235, "0.0123"), (0.0123, "0.0123"), (0.0, "0"), (2.4999, "2.49"), (9.999, "9.99"), (1234.5, "1.23e+03")],
)
def test_radii_by_hand(value, text):
    assert rounded_down(value) == text
    assert rounded_down(math.inf) == "inf"


def test_no_radius_is_printed_as_more_than_it_is():
    rng = np.random.default_rng(0)
    for value in np.exp(rng.uniform(-15, 5, 20_000)):
        printed = float(rounded_down(float(value)))
        assert value * (1 - 1.01e-2) <= printed <= value
        assert rounded_down(printed) == rounded_down(float(value)), "what is printed stays what it is"


def test_cells():
    assert percent(None) == percent_with_interval(None, None, None) == "-"
    assert percent_with_interval(0.52, 0.385, 0.652) == "52.0 [38.5, 65.2]"
    assert render_table([["a", "b"], ["ccc", "d"]]) == "| a   | b |\n| --- | - |\n| ccc | d |"
