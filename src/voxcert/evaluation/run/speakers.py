"""Who is enrolled: some of the speakers at hand, for an open set or a small one, or more than there are."""

import random
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from voxcert.data.names import few
from voxcert.encoders.base import Recognizer

MADE_UP = "(made up) "
"""Begins the name of a speaker who does not exist."""


def enrolled_only(
    recognizer: Recognizer, tested: Sequence[str], wanted: int | list[str] | None, seed: int
) -> Recognizer:
    """The recognizer with some of its speakers.

    Args:
        recognizer: All that could be enrolled.
        tested: Speakers with test utterances.
        wanted: Names, or how many of those with test utterances; None leaves all.
        seed: Draws that many.

    Raises:
        ValueError: If a name is unknown, or the number out of range.
    """
    if wanted is None:
        return recognizer
    if isinstance(wanted, int):
        candidates = sorted(set(tested) & set(recognizer.speakers))
        if not 2 <= wanted <= len(candidates):
            raise ValueError(f"enrolled must be in [2, {len(candidates)}], the speakers to test, got {wanted}")
        wanted = random.Random(f"{seed}/enrolled").sample(candidates, wanted)
    unknown = sorted(set(wanted) - set(recognizer.speakers))
    if unknown or len(set(wanted)) < 2:
        raise ValueError(
            f"enrolled must name 2 or more of the speakers {few(recognizer.speakers, show=repr)}, got {wanted}"
        )
    names = sorted(set(wanted))
    rows = [recognizer.speakers.index(name) for name in names]
    return Recognizer(recognizer.encoder, recognizer.prototypes[rows], names)


def so_many(recognizer: Recognizer, tested: Sequence[str], num_speakers: int | None, seed: int) -> Recognizer:
    """The recognizer with so many speakers: those who are tested, others drawn by the seed, and then made-up ones.

    Args:
        recognizer: All that could be enrolled.
        tested: Speakers with test utterances.
        num_speakers: How many in all; None leaves all.
        seed: Draws them.

    Raises:
        ValueError: If there are fewer than two, or fewer than are tested.
    """
    if num_speakers is None:
        return recognizer
    own = sorted(set(tested) & set(recognizer.speakers))
    if num_speakers < max(2, len(own)):
        raise ValueError(f"num_speakers must be at least {max(2, len(own))}, the speakers to test, got {num_speakers}")
    others = sorted(set(recognizer.speakers) - set(own))
    drawn = random.Random(f"{seed}/speakers").sample(others, min(len(others), num_speakers - len(own)))
    names = sorted([*own, *drawn])
    prototypes = recognizer.prototypes[[recognizer.speakers.index(name) for name in names]]
    missing = num_speakers - len(names)
    invented = made_up(recognizer.prototypes, missing, seed)
    names += [f"{MADE_UP}{number:06d}" for number in range(missing)]
    return Recognizer(recognizer.encoder, torch.cat([prototypes, invented]), names)


def made_up(prototypes: Tensor, number: int, seed: int) -> Tensor:
    """Prototypes of nobody, (number, dim): normal vectors with the mean and the covariance of real ones, normalised.

    Args:
        prototypes: Real ones, (speakers, dim).
        number: How many.
        seed: Draws them.
    """
    real = prototypes.double().cpu()
    normal = torch.randn(number, len(real), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    mean = real.mean(dim=0)
    spread = normal @ (real - mean) / max(len(real) - 1, 1) ** 0.5
    return F.normalize(mean + spread, dim=1).to(prototypes)
