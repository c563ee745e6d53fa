import torch

from voxcert.evaluation.run.processes import at_hand


def test_auto_is_what_is_at_hand():
    assert at_hand("auto") == ("cuda" if torch.cuda.is_available() else "cpu")
    assert at_hand("cpu") == "cpu"
