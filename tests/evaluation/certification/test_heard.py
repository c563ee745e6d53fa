import pytest
import torch

from voxcert.evaluation.certification.heard import check_heard


def test_what_was_certified_is_known_by_its_length_and_norm(certificate):
    waveform = torch.ones(200) / 200**0.5
    row = certificate()  # 200 samples with a norm of 1
    check_heard(row, waveform)
    check_heard(row, waveform * (1 + 1e-6))
    for other, got in ((waveform[1:], "199 with 0.9975"), (waveform / 2, "200 with 0.5")):
        with pytest.raises(ValueError, match=f"data must have u0 as it was certified, 200 samples .* 1, got {got}"):
            check_heard(row, other)


def test_what_could_not_be_read_is_nothing_to_be_compared(certificate):
    check_heard(certificate(radius=0.0, num_samples=0, waveform_norm=0.0), torch.ones(7))
