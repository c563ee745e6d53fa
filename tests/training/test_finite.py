import math

import pytest

from voxcert.training.finite import check_at_least_0, check_positive


@pytest.mark.parametrize("value", [-1.0, math.inf, math.nan])
def test_numbers_without_a_meaning_are_named(value):
    with pytest.raises(ValueError, match=f"lr must be positive and finite, got {value}"):
        check_positive("lr", value)
    with pytest.raises(ValueError, match=f"weight must be at least 0 and finite, got {value}"):
        check_at_least_0("weight", value)


def test_zero_is_not_positive():
    check_at_least_0("weight", 0)
    check_positive("lr", 1e-9)
    with pytest.raises(ValueError, match="lr must be positive and finite, got 0"):
        check_positive("lr", 0)
