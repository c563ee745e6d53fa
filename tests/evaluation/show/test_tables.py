import math

import numpy as np
import pytest

from voxcert.evaluation.show.tables import (
    ceiled,
    certified_percent,
    certified_percent_with_interval,
    certified_share,
    floored,
    percent,
    percent_with_interval,
    render_table,
    rounded_down,
    shown_radius,
    with_interval,
)


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


def test_what_is_certified_is_rounded_to_the_safe_side():
    """299 of 300 certified are not all, and 1 of 3,000 impostors that is not proved is not none."""
    assert certified_share(299 / 300, 0.981, 0.9991) == "0.99 [0.98, 1.00]"
    assert certified_share(1.0, None, None) == "1.00"
    assert certified_percent(1 / 3000) == "0.1"
    assert certified_percent(0.0) == "0.0"
    assert certified_percent(None) == "-"
    assert certified_percent_with_interval(0.5204, 0.3859, 0.6521) == "52.1 [38.5, 65.3]"
    assert certified_percent_with_interval(0.5, None, None) == "50.0 [-, -]"
    assert ceiled(39.45, 0) == "40"
    assert ceiled(-6.02, 1) == "-6.0"
    assert ceiled(-0.01, 1) == "0.0"


def test_numerical_dust_moves_no_digit():
    for decimals in (1, 2, 3):
        for steps in range(10**decimals + 1):
            exact = f"{steps / 10**decimals:.{decimals}f}"
            for value in (steps / 10**decimals, steps * 10.0**-decimals, 1 - (10**decimals - steps) / 10**decimals):
                assert floored(value, decimals) == ceiled(value, decimals) == exact
    assert [certified_percent(count / 1000) for count in (290, 570, 1)] == ["29.0", "57.0", "0.1"]


@pytest.mark.parametrize(
    ("radius", "heading"),
    [(0.01466, "0.0146"), (0.1953125, "0.195"), (0.0075 - 1e-17, "0.0075"), (0.0, "0"), (1.5, "1.5"), (0.1 * 3, "0.3")],
)
def test_headings_are_rounded_down(radius, heading):
    assert shown_radius(radius) == heading


def test_cells():
    assert percent(None) == percent_with_interval(None, None, None) == "-"
    assert percent_with_interval(0.52, 0.385, 0.652) == "52.0 [38.5, 65.2]"
    assert with_interval(34, 21.294, 46.706, decimals=1) == "34.0 [21.3, 46.7]"
    assert with_interval(34, float("nan"), float("nan"), decimals=2) == "34.00"
    assert render_table([["a", "b"], ["ccc", "d"]]) == "| a   | b |\n| --- | - |\n| ccc | d |"
