"""Which utterance is to be taken for whom: the plan of an attack run, before any attack.

Sources and targets follow Yao et al. 2022 (SSED, section IV-A1): enrolled speakers attack a closed set, impostors an
open one, and a target is any other enrolled speaker.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from voxcert.attacks import REJECTED
from voxcert.data.names import few
from voxcert.evaluation.attack.settings import Scenario
from voxcert.evaluation.run.speakers import MADE_UP


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

    @property
    def claim(self) -> str:
        """Whom the utterance claims to be, in verification."""
        return self.target or self.speaker

    def succeeded(self, decision: str | None) -> bool:
        """Whether a decision is what the attack wants."""
        return decision == self.target if self.target is not None else decision != self.expected

    def label(self, speakers: list[str]) -> int:
        """The label that an attack is called with: the target, or else what not to be taken for."""
        wanted = self.expected if self.target is None else self.target
        return REJECTED if wanted is None else speakers.index(wanted)


def plan_trials(
    items: Sequence[tuple[str, str]],
    speakers: list[str],
    *,
    scenario: Scenario,
    targeted: bool,
    target: str | None = None,
    seed: int = 0,
) -> list[Trial]:
    """Chooses the utterances to attack and their targets.

    A target depends on the seed, the utterance and the enrolled speakers alone.

    Args:
        items: Utterance and speaker of each test item.
        speakers: Who is enrolled.
        scenario: See `AttackSettings`.
        targeted: Whether the attack is towards a speaker.
        target: The same one for all utterances; its own are left out.
        seed: Of the targets.

    Raises:
        ValueError: If the target is not enrolled, or nothing is left to attack.
    """
    if target is not None and target not in speakers:
        raise ValueError(f"target must be one of the enrolled speakers {few(speakers, show=repr)}, got {target!r}")
    anybody = scenario == "sv" and targeted  # claims to be the target
    expects_speaker = scenario == "csi" or (scenario == "sv" and not targeted)
    trials = []
    for index, (utterance, speaker) in enumerate(items):
        attacks = anybody or (speaker in speakers) != (scenario == "osi")
        if speaker != target and attacks:
            others = [name for name in speakers if name != speaker and not name.startswith(MADE_UP)]
            drawn = target or random.Random(f"{seed}/{utterance}/target").choice(others) if targeted else None
            trials.append(Trial(index, utterance, speaker, speaker if expects_speaker else None, drawn))
    if not trials:
        kind = "speakers who are not enrolled" if scenario == "osi" else "enrolled speakers"
        raise ValueError(
            f"scenario {scenario} needs test utterances of {kind} (enrolled sets who is), got none among "
            f"{len(items)} of {len({speaker for _, speaker in items})} speakers, {len(speakers)} speakers enrolled"
        )
    return trials
