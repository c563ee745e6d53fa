import pytest
import torch

from voxcert.evaluation.run.processes import at_hand, float32_products


def state():
    return torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32


@pytest.mark.parametrize(("precision", "tf32"), [("highest", False), ("high", True), ("medium", True)])
def test_float32_products_hold_for_a_while(precision, tf32):
    before = state()
    with float32_products(precision):
        assert state() == (precision, tf32)
    assert state() == before


def test_auto_is_what_is_at_hand():
    assert at_hand("auto") == ("cuda" if torch.cuda.is_available() else "cpu")
    assert at_hand("cpu") == "cpu"
