import pytest

from voxcert.training.schedule import check_steps


def test_a_schedule_ends_where_it_was_planned_to():
    check_steps(8, 8.0)
    with pytest.raises(ValueError, match="a resumed run must keep its 8 steps .* got 16; to train longer, export"):
        check_steps(8, 16.0)
