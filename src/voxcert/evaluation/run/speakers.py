"""Who of the speakers at hand is enrolled, where an open set or a small one is asked for."""

import random
from collections.abc import Sequence

from voxcert.encoders.base import Recognizer

SHOWN = 8  # names in a message


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
        raise ValueError(f"enrolled must name 2 or more of the speakers {few(recognizer.speakers)}, got {wanted}")
    names = sorted(set(wanted))
    rows = [recognizer.speakers.index(name) for name in names]
    return Recognizer(recognizer.encoder, recognizer.prototypes[rows], names)


def few(names: Sequence[str]) -> str:
    """Names for a message: the first ones, and how many more there are."""
    rest = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(map(repr, names[:SHOWN])) + rest
