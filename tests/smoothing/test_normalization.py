import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from voxcert.smoothing.normalization import Cohort, Normalization

ANGLES = {"a": 0.0, "b": 60.0, "c": 90.0, "d": 180.0}
PROTOTYPES = torch.tensor([[math.cos(math.radians(x)), math.sin(math.radians(x))] for x in ANGLES.values()])
EAST = torch.tensor([1.0, 0.0])


def test_closed_form_with_all_and_with_the_nearest():
    every = Cohort(PROTOTYPES, list(ANGLES)).normalization(EAST)  # cosines 1, 1/2, 0 and -1
    assert every.mean == pytest.approx(1 / 8)
    assert every.deviation == pytest.approx(math.sqrt((1 + 1 / 4 + 1) / 4 - 1 / 64))
    near = Cohort(PROTOTYPES, list(ANGLES), nearest=2).normalization(EAST)
    assert (near.mean, near.deviation) == pytest.approx((0.75, 0.25))
    assert near.normalized(0.5) == pytest.approx(-1)
    assert near.cosine(near.normalized(0.3)) == pytest.approx(0.3)


def test_a_member_of_the_cohort_is_not_compared_with_itself():
    others = Cohort(PROTOTYPES, list(ANGLES), nearest=4).normalization(EAST, "a")
    assert others.mean == pytest.approx(-1 / 6)


def test_many_dimensions_agree_with_numpy():
    generator = torch.Generator().manual_seed(0)
    prototypes = F.normalize(torch.randn(50, 16, generator=generator), dim=1)
    own = F.normalize(torch.randn(16, generator=generator), dim=0)
    found = Cohort(prototypes, [str(number) for number in range(50)], nearest=20).normalization(own)
    best = np.sort(prototypes.double().numpy() @ own.double().numpy())[-20:]
    assert (found.mean, found.deviation) == pytest.approx((best.mean(), best.std()))


def test_without_a_cohort_a_score_is_itself():
    assert Normalization().normalized(0.3) == 0.3 == Normalization().cosine(0.3)


def test_refuses_a_cohort_that_says_nothing():
    with pytest.raises(ValueError, match=r"nearest must be in \[2, 4\], got 5"):
        Cohort(PROTOTYPES, list(ANGLES), nearest=5)
    with pytest.raises(ValueError, match="cohort of 'x' must be speakers who differ in their cosines"):
        Cohort(torch.stack([EAST, EAST]), ["a", "b"]).normalization(EAST, "x")
    with pytest.raises(ValueError, match="prototypes must be of shape"):
        Cohort(PROTOTYPES[:1], ["a"])
