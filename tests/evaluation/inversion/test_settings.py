import math

import pytest

from voxcert.attacks.inversion.starts import Constant, Mixture, Noise, Speech
from voxcert.evaluation.inversion.settings import Experiment, InversionSettings

ZEROS = Experiment("zeros", "d_vector", Constant(0), 1.0)


@pytest.mark.parametrize("start", [Speech(), Mixture(Speech(), Noise("white")), Mixture(Noise("white"), Speech())])
def test_a_d_vector_does_not_start_from_speech(start):
    with pytest.raises(ValueError, match="start must not be made of speech where the method is d_vector, got .*Speech"):
        Experiment("speech", "d_vector", start, 1.0)
    assert Experiment("speech", "sliding", start, 1.0).start == start


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("seed", -1, "seed must be at least 0, got -1"),
        ("num_speakers", 0, "num_speakers must be at least 1 or null, got 0"),
        ("round_digits", 0, r"round_digits must be in \[1, 12\] or null, got 0"),
        ("round_digits", 13, r"round_digits must be in \[1, 12\] or null, got 13"),
        ("posterior_noise", -0.1, "posterior_noise must be at least 0 and finite, got -0.1"),
        ("posterior_noise", math.inf, "posterior_noise must be at least 0 and finite, got inf"),
        ("posterior_noise", math.nan, "posterior_noise must be at least 0 and finite, got nan"),
    ],
)
def test_what_is_out_of_range_is_refused(setting, value, message):
    with pytest.raises(ValueError, match=message):
        InversionSettings("unused", [ZEROS], **{setting: value})


def test_the_most_digits_are_allowed():
    assert InversionSettings("unused", [ZEROS], round_digits=12).round_digits == 12
