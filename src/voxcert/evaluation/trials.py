"""Who is enrolled, and which utterance is to be taken for whom: the plan of an attack run, before any attack.

Sources and targets follow Yao et al. 2022 (SSED, section IV-A1): enrolled speakers attack a closed set, impostors an
open one, and a target is any other enrolled speaker.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from voxcert.attacks import REJECTED
from voxcert.encoders.base import Recognizer
from voxcert.evaluation.attack_settings import AttackSettings

SHOWN = 8  # names in a message


@dataclass(frozen=True)
class Trial:
    """One utterance and what an attack on it wants.

    Decisions are a speaker's name, or None for nobody: an open set that rejects, a claim that is refused.

    Attributes:
        index: Which of the test items.
        utterance: Id.
        speaker: Who speaks.
        expected: The right decision.
        target: The decision that is wanted; None for any but the expected one.
    """

    index: int
    utterance: str
    speaker: str
    expected: str | None
    target: str | None

    def succeeded(self, decision: str | None) -> bool:
        """Whether a decision is what the attack wants."""
        return decision == self.target if self.target is not None else decision != self.expected

    def label(self, speakers: list[str]) -> int:
        """The label that an attack is called with: the target, or else what not to be taken for."""
        wanted = self.expected if self.target is None else self.target
        return REJECTED if wanted is None else speakers.index(wanted)


def enrolled_only(recognizer: Recognizer, tested: Sequence[str], settings: AttackSettings) -> Recognizer:
    """The recognizer with the speakers that `settings.enrolled` asks for.

    Args:
        recognizer: All that could be enrolled.
        tested: Speakers with test utterances.
        settings: `enrolled` and `seed`.

    Raises:
        ValueError: If a name is unknown, or the number out of range.
    """
    wanted = settings.enrolled
    if wanted is None:
        return recognizer
    if isinstance(wanted, int):
        candidates = sorted(set(tested) & set(recognizer.speakers))
        if not 2 <= wanted <= len(candidates):
            raise ValueError(f"enrolled must be in [2, {len(candidates)}], the speakers to test, got {wanted}")
        wanted = random.Random(f"{settings.seed}/enrolled").sample(candidates, wanted)
    unknown = sorted(set(wanted) - set(recognizer.speakers))
    if unknown or len(set(wanted)) < 2:
        raise ValueError(f"enrolled must name 2 or more of the speakers {_few(recognizer.speakers)}, got {wanted}")
    names = sorted(set(wanted))
    rows = [recognizer.speakers.index(name) for name in names]
    return Recognizer(recognizer.encoder, recognizer.prototypes[rows], names)


def plan_trials(items: Sequence[tuple[str, str]], speakers: list[str], settings: AttackSettings) -> list[Trial]:
    """Chooses the utterances to attack and their targets.

    A target depends on the seed, the utterance and the enrolled speakers alone.

    Args:
        items: Utterance and speaker of each test item.
        speakers: Who is enrolled.
        settings: Scenario and targets.

    Raises:
        ValueError: If the target is not enrolled, or nothing is left to attack.
    """
    if settings.target is not None and settings.target not in speakers:
        raise ValueError(f"target must be one of the enrolled speakers {_few(speakers)}, got {settings.target!r}")
    trials = []
    for index, (utterance, speaker) in enumerate(items):
        if speaker != settings.target and _attacks(speaker in speakers, settings):
            target = _target(utterance, speaker, speakers, settings) if settings.targeted else None
            expected = speaker if _expects_speaker(settings) else None
            trials.append(Trial(index, utterance, speaker, expected, target))
    if not trials:
        kind = "speakers who are not enrolled" if settings.scenario == "osi" else "enrolled speakers"
        raise ValueError(
            f"scenario {settings.scenario} needs test utterances of {kind} (enrolled sets who is), got none among "
            f"{len(items)} of {len({speaker for _, speaker in items})} speakers, {len(speakers)} speakers enrolled"
        )
    return trials


def _attacks(is_enrolled: bool, settings: AttackSettings) -> bool:
    if settings.scenario == "sv" and settings.targeted:
        return True
    return is_enrolled != (settings.scenario == "osi")


def _expects_speaker(settings: AttackSettings) -> bool:
    return settings.scenario == "csi" or (settings.scenario == "sv" and not settings.targeted)


def _target(utterance: str, speaker: str, speakers: list[str], settings: AttackSettings) -> str:
    others = [name for name in speakers if name != speaker]
    return settings.target or random.Random(f"{settings.seed}/{utterance}/target").choice(others)


def _few(names: Sequence[str]) -> str:
    rest = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(map(repr, names[:SHOWN])) + rest
