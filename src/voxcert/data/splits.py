"""Who trains, who validates and who tests: divides the speakers of a corpus, reproducibly from a seed."""

import random
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Literal, get_args

from voxcert.data.enrollment import EnrollUnit, by_speaker, enrollment_only, split_enrollment, untested
from voxcert.data.same_audio import copies, equal_recordings
from voxcert.data.utterance import Utterance

Count = int | Literal["auto"]
MOST_HELD_OUT = 5  # speakers that "auto" holds out for one purpose


@dataclass(frozen=True)
class Evaluation:
    """Material of one stage: `enroll` teaches the speakers (distractors too), `test` is asked about."""

    enroll: list[Utterance] = field(default_factory=list)
    test: list[Utterance] = field(default_factory=list)


@dataclass(frozen=True)
class Split:
    """The division of a corpus: utterances to train on, and what validates and tests.

    `note` says how many speakers were held out where that was worked out, and how many of their utterances are not
    tested; it is empty where there is nothing to say.
    """

    train: list[Utterance]
    val: Evaluation
    test: Evaluation
    note: str = ""


@dataclass(frozen=True)
class Protocol:
    """How speakers are enrolled; the fields are those of `SpeakerDataModule`.

    Raises:
        ValueError: The unit is another word.
    """

    num_enroll: int
    enroll_unit: EnrollUnit
    segment_seconds: float
    distractors: bool
    seed: int

    def __post_init__(self) -> None:
        if self.enroll_unit not in get_args(EnrollUnit):
            raise ValueError(f"enroll_unit must be one of {', '.join(get_args(EnrollUnit))}, got {self.enroll_unit}")

    def divide(self, utterances: list[Utterance]) -> Evaluation:
        """Divide speakers' utterances into enrolment and test; see `split_enrollment`."""
        enroll, test = split_enrollment(
            utterances,
            self.num_enroll,
            unit=self.enroll_unit,
            segment_seconds=self.segment_seconds,
            seed=self.seed,
        )
        return Evaluation(enroll, test)

    def with_distractors(self, evaluation: Evaluation, others: list[Utterance]) -> Evaluation:
        """Enrol the speakers of `others` too, except for those who are enrolled already."""
        if not self.distractors or not evaluation.test:
            return evaluation
        known = {utterance.speaker for utterance in evaluation.enroll}
        strangers = [utterance for utterance in others if utterance.speaker not in known]
        more = enrollment_only(strangers, self.num_enroll, seed=self.seed)
        return Evaluation(evaluation.enroll + more, evaluation.test)


def split_speakers(
    utterances: list[Utterance],
    protocol: Protocol,
    *,
    train_parts: list[str] | None,
    test_parts: list[str] | None,
    num_val_speakers: Count,
    num_test_speakers: Count,
    train_on_enrollment: bool = False,
) -> Split:
    """Divide a corpus into training, validation and test speakers.

    Held-out speakers are drawn from the training parts. Those with too little material to enrol and test are passed
    over and train instead. A speaker of `test_parts` who also occurs in the training parts stays in both, with a
    warning: that is closed-set identification, on recordings that were not trained on.

    "auto" holds out a sixth of the speakers for each purpose, at least one and at most five. Three speakers are too
    few for that: one of them is held out, and validates and tests.

    Args:
        utterances: The corpus.
        protocol: How speakers are enrolled.
        train_parts: Parts to train on; every part that is not a test part when None.
        test_parts: Parts whose speakers are tested, all of them.
        num_val_speakers: Speakers of the training parts held out for validation.
        num_test_speakers: Speakers of the training parts held out for the test, where there are no `test_parts`.
        train_on_enrollment: Train on what enrols the tested speakers too.

    Raises:
        ValueError: A part is unknown or on both sides, there are too few speakers, or both ways to choose test
            speakers are used.
    """
    _check_parts(utterances, train_parts, test_parts)
    if test_parts and num_test_speakers == "auto":
        num_test_speakers = 0
    if test_parts and num_test_speakers:
        raise ValueError(f"num_test_speakers must be 0 when test_parts are given, got {num_test_speakers}")
    tested = [utterance for utterance in utterances if utterance.part in (test_parts or [])]
    pool = by_speaker(
        utterance
        for utterance in utterances
        if utterance.part not in (test_parts or []) and (train_parts is None or utterance.part in train_parts)
    )
    seen = sorted(pool.keys() & {utterance.speaker for utterance in tested})
    if seen:
        warnings.warn(f"{len(seen)} speakers of test_parts are trained on too, such as {seen[0]!r}", stacklevel=2)
    asked, shared = (num_val_speakers, num_test_speakers), False
    if "auto" in asked:
        num_val_speakers, num_test_speakers, shared = _held_out(pool, protocol, num_val_speakers, num_test_speakers)
    test = _hold_out(pool, num_test_speakers, protocol, "num_test_speakers")
    val = test if shared else _hold_out(pool, num_val_speakers, protocol, "num_val_speakers")
    train = [utterance for own in pool.values() for utterance in own]
    tested = tested or test
    evaluated, validated = protocol.divide(tested), protocol.divide(val)
    left = untested(tested, evaluated.enroll, evaluated.test)
    left += untested([] if shared else val, validated.enroll, validated.test)
    notes = [_note(len(pool), val, test, shared)] if "auto" in asked else []
    if left:
        notes.append(f"{len(left)} utterances lie in files that enrol and are not tested, such as {left[0]}")
    return Split(
        train=train + (evaluated.enroll if train_on_enrollment else []),
        val=protocol.with_distractors(validated, train),
        test=protocol.with_distractors(evaluated, train if shared else train + val),
        note="; ".join(notes),
    )


def check_apart(split: Split) -> None:
    """Check that nothing that is tested is there twice, and no recording has two speakers.

    Copies of files are found everywhere; among what is enrolled and tested, so are copies in another container.

    Args:
        split: With files that are there.

    Raises:
        ValueError: There is such a pair; the message names it.
    """
    tested = set(split.val.test + split.test.test)
    evaluated = split.val.enroll + split.test.enroll + list(tested)
    pairs = copies(split.train + evaluated) + copies(evaluated, equal_recordings)
    wrong = [pair for pair in pairs if tested & set(pair) or pair[0].speaker != pair[1].speaker]
    if wrong:
        first, second = wrong[0]
        raise ValueError(
            f"{first} and {second} are the same audio ({len(wrong)} such pairs): what is tested must not be enrolled, "
            "trained on or tested again, and has one speaker; remove one of each (`voxcert data check` lists all)"
        )


def num_able(utterances: list[Utterance], protocol: Protocol, train_parts: list[str] | None = None) -> int:
    """How many speakers of the training parts have enough material to enrol and test.

    Args:
        utterances: The corpus.
        protocol: How speakers are enrolled.
        train_parts: As for `split_speakers`.
    """
    pool = by_speaker(one for one in utterances if train_parts is None or one.part in train_parts)
    return sum(_has_enough(own, protocol) for own in pool.values())


def to_test_everybody(able: int) -> str:
    """What a message tells who has too few speakers to hold some out.

    Args:
        able: Speakers with enough material to enrol and test.
    """
    if able < 2:
        return "2 speakers with enough material are the least that can be told apart"
    flags = f"--data.num_val_speakers 0 --data.num_test_speakers {able}"
    return f"to test everybody with an encoder that was trained on others: {flags}"


def _held_out(
    pool: dict[str, list[Utterance]], protocol: Protocol, num_val: Count, num_test: Count
) -> tuple[int, int, bool]:
    """Numbers of validation and test speakers where one is "auto", and whether they are the same speakers."""
    able = sum(_has_enough(own, protocol) for own in pool.values())
    spare = min(able, len(pool) - 2)  # two are left to train
    if spare < 1:
        raise ValueError(
            'num_val_speakers and num_test_speakers must be given, "auto" needs 3 speakers (two to train and one with '
            f"enough material to enrol and test), got {len(pool)}, {able} of them with enough; "
            f"{to_test_everybody(able)}"
        )
    if num_val == num_test == "auto" and spare == 1:
        return 1, 1, True
    left = spare - sum(count for count in (num_val, num_test) if count != "auto")
    if left < 1:
        raise ValueError(
            f'num_val_speakers and num_test_speakers must leave a speaker for "auto", and two to train, got {num_val} '
            f"and {num_test}, of {len(pool)} speakers, {able} of them with enough material to enrol and test"
        )
    share = min(MOST_HELD_OUT, max(1, len(pool) // 6))
    test = min(share, left - (num_val == "auto")) if num_test == "auto" else num_test
    return min(share, spare - test) if num_val == "auto" else num_val, test, False


def _note(num_train: int, val: list[Utterance], test: list[Utterance], shared: bool) -> str:
    names = [f"{len(by_speaker(own))} ({', '.join(list(by_speaker(own))[:MOST_HELD_OUT])})" for own in (val, test)]
    if shared:
        return (
            f"speakers: {num_train} train, {names[0]} is held out and both validates and tests; with so few, trust no "
            "checkpoint that was chosen by its validation (4 speakers keep the two apart)"
        )
    given = f"--data.num_val_speakers {len(by_speaker(val))} --data.num_test_speakers {len(by_speaker(test))}"
    return f"speakers: {num_train} train, held out are {names[0]} to validate and {names[1]} to test (as with {given})"


def _hold_out(pool: dict[str, list[Utterance]], count: int, protocol: Protocol, argument: str) -> list[Utterance]:
    """Take `count` speakers with enough material out of the pool, in an order drawn by the seed."""
    order = random.Random(f"{protocol.seed}/{argument}").sample(sorted(pool), len(pool))
    chosen = list(islice((speaker for speaker in order if _has_enough(pool[speaker], protocol)), count))
    if len(chosen) < count:
        raise ValueError(
            f"{argument} must be in [0, {len(chosen)}], got {count}: no more of the {len(pool)} speakers in the "
            f"training parts have enough material to enrol and test; type --data.{argument} {len(chosen)}, or auto"
        )
    return [utterance for speaker in chosen for utterance in pool.pop(speaker)]


def _has_enough(utterances: list[Utterance], protocol: Protocol) -> bool:
    try:
        protocol.divide(utterances)
    except ValueError:
        return False
    return True


def _check_parts(
    utterances: list[Utterance], train_parts: Sequence[str] | None, test_parts: Sequence[str] | None
) -> None:
    present = sorted({utterance.part for utterance in utterances})
    for argument, parts in (("train_parts", train_parts), ("test_parts", test_parts)):
        unknown = [part for part in parts or [] if part not in present]
        if unknown or parts == []:
            raise ValueError(f"{argument} must be among the corpus's parts {present}, got {unknown or parts}")
    shared = sorted(set(train_parts or []) & set(test_parts or []))
    if shared:
        raise ValueError(f"train_parts and test_parts must not overlap, both have {shared}")
