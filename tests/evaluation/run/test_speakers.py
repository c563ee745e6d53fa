import pytest
import torch
import torch.nn.functional as F

from voxcert.encoders.base import Recognizer
from voxcert.evaluation.run.speakers import MADE_UP, made_up, so_many

NAMES = [f"s{i}" for i in range(10)]


def recognizer(dim=4):
    generator = torch.Generator().manual_seed(0)
    return Recognizer(torch.nn.Identity(), F.normalize(torch.randn(10, dim, generator=generator) + 1, dim=1), NAMES)


def test_all_at_hand_is_what_null_means():
    everybody = recognizer()
    assert so_many(everybody, ["s1"], None, 0) is everybody


def test_who_is_tested_stays_and_others_are_drawn():
    few = so_many(recognizer(), ["s3", "s5"], 4, 0)
    assert {"s3", "s5"} < set(few.speakers) < set(NAMES)
    assert len(few.speakers) == 4
    for name, prototype in zip(few.speakers, few.prototypes, strict=True):
        assert torch.equal(prototype, recognizer().prototypes[NAMES.index(name)])
    draws = {tuple(so_many(recognizer(), ["s3", "s5"], 4, seed).speakers) for seed in range(20)}
    assert len(draws) > 5


def test_a_larger_number_keeps_everybody_of_a_smaller_one():
    sets = [set(so_many(recognizer(), ["s3"], number, 1).speakers) for number in range(2, 14)]
    assert all(smaller < larger for smaller, larger in zip(sets, sets[1:], strict=False))


def test_beyond_those_at_hand_speakers_are_made_up_and_say_so():
    many = so_many(recognizer(), ["s3"], 25, 0)
    assert many.speakers[:10] == NAMES
    assert len(set(many.speakers)) == 25
    assert all(name.startswith(MADE_UP) for name in many.speakers[10:])
    assert torch.equal(many.prototypes[:10], recognizer().prototypes)
    torch.testing.assert_close(many.prototypes.norm(dim=1), torch.ones(25))


def test_made_up_prototypes_have_the_statistics_of_real_ones():
    generator = torch.Generator().manual_seed(0)
    axes = torch.tensor([0.02, 0.04, 0.08, 0.01])
    real = F.normalize(torch.tensor([3.0, 1.0, 0.0, 0.0]) / 10**0.5 + axes * torch.randn(500, 4, generator=generator))
    invented = made_up(real, 20_000, 0)
    torch.testing.assert_close(invented.mean(dim=0), real.mean(dim=0), atol=2e-3, rtol=0)
    torch.testing.assert_close(invented.T.cov(), real.T.cov(), atol=2e-4, rtol=0)


def test_made_up_prototypes_lie_where_few_real_ones_span():
    real = F.normalize(torch.eye(50)[:3] + 0.1, dim=1)
    invented = made_up(real, 5, 0)
    residual = invented - invented @ torch.linalg.pinv(real) @ real
    assert residual.abs().max() < 1e-5


@pytest.mark.parametrize("number", [1, 2])
def test_nobody_who_is_tested_is_left_out(number):
    with pytest.raises(ValueError, match="num_speakers must be at least 3, the speakers to test, got"):
        so_many(recognizer(), ["s1", "s2", "s3"], number, 0)
