"""Who is enrolled with what, and what is left to test: pure functions on lists of utterances.

Every draw is made per speaker, from the seed and the speaker's name alone, so that it does not change when other
speakers are added or the list is reordered.
"""

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Literal

from voxcert.data.audio import AudioError, duration
from voxcert.data.corpus import Utterance

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
        utterance: What to cut. Reads the file's header where it has no end.
        seconds: Length of a segment. A shorter rest at the end is left out.

    Returns:
        Segments in order, ids "ID@START-END"; the utterance itself when it has no room for two.

    Raises:
        AudioError: The file is not readable.
    """
    end = duration(utterance.path) if utterance.end is None else utterance.end
    count = int((end - utterance.start) / seconds + 1e-6)
    if count < 2:
        return [utterance]
    starts = [round(utterance.start + index * seconds, 6) for index in range(count)]
    return [
        replace(utterance, id=f"{utterance.id}@{start:.2f}-{start + seconds:.2f}", start=start, end=start + seconds)
        for start in starts
    ]


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
        shuffled = _shuffled(own, f"{seed}/{speaker}")
        by_segment = unit == "segment" or (unit == "auto" and len(own) == 1)
        pieces = [piece for one in shuffled for piece in _pieces(one, segment_seconds)] if by_segment else shuffled
        count = min(num_enroll, len(pieces) - 1) if unit == "auto" else num_enroll
        if not 0 < count < len(pieces):
            kind = f"segments of {segment_seconds:g} seconds" if by_segment else "utterances"
            needed = 2 if unit == "auto" else num_enroll + 1
            raise ValueError(f"speaker {speaker!r} needs at least {needed} {kind} to enrol and test, got {len(pieces)}")
        if by_segment and len(own) == 1:
            pieces = _shuffled(pieces, f"{seed}/{speaker}/segments")
        enroll += pieces[:count]
        test += _apart(pieces[count:], pieces[:count])
    return _sorted(enroll), _sorted(test)


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
    return _sorted(one for speaker in groups for one in _shuffled(groups[speaker], f"{seed}/{speaker}")[:num_enroll])


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
        for place, speaker in enumerate(_shuffled(list(groups), f"{seed}"))
        for turn, one in enumerate(_shuffled(groups[speaker], f"{seed}/{speaker}"))
    ]
    return _sorted(one for _, _, one in sorted(rounds, key=lambda entry: entry[:2])[:count])


@dataclass(frozen=True)
class Trial:
    """A question of verification: does the utterance come from the enrolled voice?

    Args:
        enrolled: An enrolled speaker's name; in a list read by `read_trials`, the id of the enrolling utterance.
        utterance: Id of the test utterance.
        target: Whether the answer is yes.
    """

    enrolled: str
    utterance: str
    target: bool


def verification_trials(
    speakers: Sequence[str], utterances: Iterable[Utterance], *, num_nontarget: int | None = None, seed: int = 0
) -> list[Trial]:
    """Set test utterances against enrolled speakers.

    Args:
        speakers: Enrolled speakers.
        utterances: Test utterances.
        num_nontarget: Other speakers that each utterance is set against; 1 balances the trials, None takes all.
        seed: Of the draw of other speakers.

    Returns:
        For each utterance its target trial (where its speaker is enrolled) and its non-target trials.
    """
    trials = []
    for utterance in sorted(utterances, key=lambda utterance: utterance.id):
        others = [speaker for speaker in sorted(speakers) if speaker != utterance.speaker]
        if len(others) < len(speakers):
            trials.append(Trial(utterance.speaker, utterance.id, True))
        drawn = _shuffled(others, f"{seed}/{utterance.id}")[:num_nontarget]
        trials += [Trial(other, utterance.id, False) for other in sorted(drawn)]
    return trials


def read_trials(path: str | Path) -> list[Trial]:
    """Read a trial list in the format of VoxCeleb: lines `LABEL ENROLMENT TEST`, the label being 1 or 0.

    Args:
        path: Text file. Audio paths become utterance ids by losing their suffix.

    Raises:
        ValueError: A line has another form; the message names it.
    """
    trials = []
    for number, line in enumerate(Path(path).read_text("utf-8").splitlines(), start=1):
        fields = line.split()
        if len(fields) != 3 or fields[0] not in ("0", "1"):
            raise ValueError(f"{path}:{number}: a line must read '0|1 ENROLMENT TEST', got {line!r}")
        enrolled, utterance = (str(PurePosixPath(field).with_suffix("")) for field in fields[1:])
        trials.append(Trial(enrolled, utterance, fields[0] == "1"))
    return trials


def _shuffled(things: Sequence, key: str) -> list:
    return random.Random(key).sample(things, len(things))  # a text as seed is hashed by SHA-512: stable everywhere


def _pieces(utterance: Utterance, seconds: float) -> list[Utterance]:
    try:
        return cut(utterance, seconds)
    except AudioError:
        return [utterance]


def _apart(candidates: list[Utterance], enrolled: list[Utterance]) -> list[Utterance]:
    """The candidates from files that enrol nothing, or all of them where there are none."""
    used = {utterance.path for utterance in enrolled}
    return [one for one in candidates if one.path not in used] or candidates


def _sorted(utterances: Iterable[Utterance]) -> list[Utterance]:
    return sorted(utterances, key=lambda utterance: (utterance.speaker, utterance.id))


def _check_positive(**values: float) -> None:
    for name, value in values.items():
        if not value > 0:
            raise ValueError(f"{name} must be positive, got {value}")
