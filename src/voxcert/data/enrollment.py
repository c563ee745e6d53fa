"""Who is enrolled with what, and what is left to test: pure functions on lists of utterances.

Every draw is made per speaker, from the seed and the speaker's name alone, so that it does not change when other
speakers are added or the list is reordered.
"""

import math
import random
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from voxcert.data.audio import END_SLACK_SECONDS, AudioError, duration
from voxcert.data.paths import is_file
from voxcert.data.same_audio import SLACK, file_key
from voxcert.data.utterance import Utterance

EnrollUnit = Literal["auto", "utterance", "segment"]


def by_speaker(utterances: Iterable[Utterance]) -> dict[str, list[Utterance]]:
    """Group utterances by speaker; speakers, and the utterances of each, are sorted by name."""
    groups: dict[str, list[Utterance]] = {}
    for utterance in sorted(utterances, key=lambda utterance: (utterance.speaker, utterance.id)):
        groups.setdefault(utterance.speaker, []).append(utterance)
    return groups


def cut(utterance: Utterance, seconds: float) -> list[Utterance]:
    """Cut an utterance into segments that do not overlap.

    Args:
        utterance: What to cut; one that ends behind its file stays whole, for its reader to say so.
        seconds: Length of a segment. A shorter rest at the end is left out.

    Returns:
        Segments in order, ids "ID@START-END"; the utterance itself when it has no room for two.

    Raises:
        AudioError: The file is not readable.
    """
    there = duration(utterance.path) if utterance.end is None or is_file(utterance.path) else utterance.end
    end = there if utterance.end is None else utterance.end
    if end > there + END_SLACK_SECONDS:
        return [utterance]
    count = int((end - utterance.start) / seconds + 1e-6)
    if count < 2:
        return [utterance]
    starts = [round(utterance.start + index * seconds, 6) for index in range(count)]
    return [
        replace(utterance, id=f"{utterance.id}@{start:.2f}-{start + seconds:.2f}", start=start, end=start + seconds)
        for start in starts
    ]


def pieces(utterance: Utterance, seconds: float) -> list[Utterance]:
    """As `cut`, but a file that is not readable stays whole, for its reader to say what is wrong with it."""
    try:
        return cut(utterance, seconds)
    except AudioError:
        return [utterance]


def split_enrollment(
    utterances: Iterable[Utterance],
    num_enroll: int,
    *,
    unit: EnrollUnit = "auto",
    segment_seconds: float = 3.0,
    seed: int = 0,
) -> tuple[list[Utterance], list[Utterance]]:
    """Divide each speaker's material into what enrols and what tests.

    - "utterance": `num_enroll` whole utterances enrol and the others test.
    - "segment": utterances are cut, `num_enroll` segments enrol and the others test. A file that cannot be read is
      not cut: it stays whole, for its reader to say what is wrong with it.
    - "auto": by utterance where a speaker has two or more, otherwise by segment; at most `num_enroll` of them enrol,
      fewer where otherwise none would be left to test.

    What is left tests only if it lies in a file that enrols nothing; where there is no such file, all of it tests.

    Args:
        utterances: Of any number of speakers, in any order.
        num_enroll: Utterances or segments that enrol a speaker.
        unit: What is counted.
        segment_seconds: Length of a segment.
        seed: Of the draw.

    Returns:
        Enrolment and test utterances, each sorted by speaker and id; no stretch of audio is in both.

    Raises:
        ValueError: `num_enroll` or `segment_seconds` is out of range, or a speaker has too little material.
    """
    _check_positive(num_enroll=num_enroll, segment_seconds=segment_seconds)
    enroll, test = [], []
    for speaker, own in by_speaker(utterances).items():
        order = shuffled(own, f"{seed}/{speaker}")
        by_segment = unit == "segment" or (unit == "auto" and len(own) == 1)
        found = [piece for one in order for piece in pieces(one, segment_seconds)] if by_segment else order
        count = min(num_enroll, len(found) - 1) if unit == "auto" else num_enroll
        if not 0 < count < len(found):
            kind = f"segments of {segment_seconds:g} seconds" if by_segment else "utterances"
            needed = 2 if unit == "auto" else num_enroll + 1
            raise ValueError(f"speaker {speaker!r} needs at least {needed} {kind} to enrol and test, got {len(found)}")
        if by_segment and len(own) == 1:
            found = shuffled(found, f"{seed}/{speaker}/segments")
        enroll += found[:count]
        test += _apart(found[count:], found[:count])
    return _sorted(enroll), _sorted(test)


def untested(
    utterances: Iterable[Utterance], enroll: Iterable[Utterance], test: Iterable[Utterance]
) -> list[Utterance]:
    """Utterances that neither enrol nor are tested, because they lie in a file that enrols and other files are tested.

    Args:
        utterances: As given to `split_enrollment`.
        enroll: As it returned them.
        test: As it returned them.

    Returns:
        Those of which no piece is used, in their order.
    """
    used: dict[tuple[Path, int | None], list[float]] = defaultdict(list)
    for piece in [*enroll, *test]:
        used[piece.path, piece.channel].append(piece.start)

    def is_used(one: Utterance) -> bool:
        first, last = one.start - SLACK, (math.inf if one.end is None else one.end) - SLACK
        return any(first <= start < last for start in used[one.path, one.channel])

    return [one for one in utterances if not is_used(one)]


def enrollment_only(utterances: Iterable[Utterance], num_enroll: int, *, seed: int = 0) -> list[Utterance]:
    """Choose recordings to enrol speakers with who are not tested, such as distractors.

    Args:
        utterances: Of any number of speakers, in any order.
        num_enroll: Most recordings that enrol a speaker; all are used where there are fewer.
        seed: Of the draw.

    Returns:
        Chosen recordings, sorted by speaker and id; at least one per speaker.

    Raises:
        ValueError: `num_enroll` is below 1.
    """
    _check_positive(num_enroll=num_enroll)
    groups = by_speaker(utterances)
    return _sorted(one for speaker in groups for one in shuffled(groups[speaker], f"{seed}/{speaker}")[:num_enroll])


def shuffled(things: Sequence, key: str) -> list:
    """The same things in an order that is drawn from a text: the same one everywhere.

    Args:
        things: Any.
        key: Seed of the draw; a text is hashed by SHA-512.
    """
    return random.Random(key).sample(things, len(things))


def balanced_subset(utterances: Iterable[Utterance], count: int, *, seed: int = 0) -> list[Utterance]:
    """Choose utterances evenly over the speakers: everybody's first, then everybody's second, and so on.

    Args:
        utterances: Of any number of speakers, in any order.
        count: Most utterances to choose.
        seed: Of the order of speakers and of the utterances of each.

    Returns:
        Chosen utterances, sorted by speaker and id.
    """
    groups = by_speaker(utterances)
    rounds = [
        (turn, place, one)
        for place, speaker in enumerate(shuffled(list(groups), f"{seed}"))
        for turn, one in enumerate(shuffled(groups[speaker], f"{seed}/{speaker}"))
    ]
    return _sorted(one for _, _, one in sorted(rounds, key=lambda entry: entry[:2])[:count])


def _apart(candidates: list[Utterance], enrolled: list[Utterance]) -> list[Utterance]:
    """The candidates from files that enrol nothing, or all of them where there are none."""
    used = {file_key(utterance.path) for utterance in enrolled}
    return [one for one in candidates if file_key(one.path) not in used] or candidates


def _sorted(utterances: Iterable[Utterance]) -> list[Utterance]:
    return sorted(utterances, key=lambda utterance: (utterance.speaker, utterance.id))


def _check_positive(**values: float) -> None:
    for name, value in values.items():
        if not value > 0:
            raise ValueError(f"{name} must be positive, got {value}")
