"""What a corpus is: a list of utterances, each a stretch of an audio file with a speaker.

Nothing of it vanishes: what cannot be used stops the reading or is counted in a warning, with its reason.
"""

import warnings
from abc import ABC, abstractmethod
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace

from voxcert.data.files import PassedOver, counted
from voxcert.data.names import as_speaker, composed
from voxcert.data.paths import printable
from voxcert.data.same_audio import overlapping
from voxcert.data.utterance import Utterance


class MissingLibrary(ImportError, ValueError):
    """A library that a corpus needs is not installed; a ValueError too, which commands show as a message."""


@dataclass(frozen=True)
class Refused:
    """Something that a corpus lists and that cannot be used: reading stops, with this message."""

    reason: str


@dataclass(frozen=True)
class Survey:
    """All there is in a corpus.

    Attributes:
        utterances: What can be used, sorted by id.
        refused: Messages on what cannot; a corpus with any is not read.
        leaks: Messages on audio that is listed twice, which is refused as well.
        notes: Messages on what was passed over and on what looks like a mistake.
    """

    utterances: list[Utterance]
    refused: list[str]
    leaks: list[str]
    notes: list[str]


class Corpus(ABC):
    """A collection of utterances. A subclass writes `scan`; callers use `utterances`."""

    @abstractmethod
    def scan(self) -> Iterable[Utterance | Refused | PassedOver]:
        """Find the utterances, in any order, and what cannot be used."""

    def utterances(self) -> list[Utterance]:
        """All utterances, sorted by id; what was passed over is counted in a warning.

        Raises:
            ValueError: There are none, one is refused, two share an id, or two share audio.
        """
        survey = self.survey()
        wrong = survey.refused + survey.leaks
        if wrong:
            more = f" (and {len(wrong) - 1} more: `voxcert data check` lists all)" if len(wrong) > 1 else ""
            raise ValueError(wrong[0] + more)
        if not survey.utterances:
            raise ValueError("; ".join([f"{self}: no utterances found", *survey.notes]))
        for note in survey.notes:
            warnings.warn(note, stacklevel=2)
        return survey.utterances

    def survey(self) -> Survey:
        """Read the corpus and keep going: what can be used, what cannot, and why.

        Raises:
            ValueError: The corpus as a whole cannot be read.
        """
        found, refused, passed = [], [], []
        for one in map(as_named, self.scan()):
            if isinstance(one, PassedOver):
                passed.append(one)
            elif isinstance(one, Refused):
                refused.append(one.reason)
            else:
                found.append(one)
        found.sort(key=lambda utterance: utterance.id)
        shared = overlapping(found)
        found = without_one_of_each(found, shared)
        found = _without_repeated_ids(found, refused, str(self))
        leaks = [shared_audio(*pair) for pair in shared]
        notes = counted(passed) + _alike_names(found)
        return Survey(found, *([printable(message) for message in messages] for messages in (refused, leaks, notes)))

    def __str__(self) -> str:
        settings = ", ".join(f"{name}={value!r}" for name, value in vars(self).items())
        return f"{type(self).__name__}({settings})"


def as_named(one: Utterance | Refused | PassedOver) -> Utterance | Refused | PassedOver:
    """What a corpus found, an utterance with its id and speaker as people read them; one without such names is refused.

    Args:
        one: As `Corpus.scan` gives it.
    """
    if not isinstance(one, Utterance):
        return one
    try:
        return replace(one, id=composed(one.id), speaker=as_speaker(one.speaker))
    except ValueError as error:
        return Refused(f"{one.origin or one.path}: {error}")


def without_one_of_each(found: list[Utterance], pairs: list[tuple[Utterance, Utterance]]) -> list[Utterance]:
    """What is left when of each pair with the same audio one goes, and both where they have different speakers.

    Args:
        found: Utterances.
        pairs: Of utterances among them, to be told apart by identity.
    """
    lost = {id(second) for _, second in pairs}
    lost |= {id(first) for first, second in pairs if first.speaker != second.speaker}  # who is right, nobody knows
    return [one for one in found if id(one) not in lost]


def shared_audio(first: Utterance, second: Utterance) -> str:
    """What to say of two utterances with the same audio.

    Args:
        first: Of the two.
        second: Of the two.
    """
    return f"{second}: a stretch of audio may be listed once, this one shares audio with {first}"


def _without_repeated_ids(found: list[Utterance], refused: list[str], corpus: str) -> list[Utterance]:
    repeated = {name for name, count in Counter(one.id for one in found).items() if count > 1}
    if repeated:
        first = min(repeated)
        where = " and ".join(one.origin or str(one.path) for one in found if one.id == first)
        refused.append(
            f"{corpus}: utterance ids must be unique, got {len(repeated)} repeated, such as {first!r} for {where}"
        )
    return [one for one in found if one.id not in repeated]


def _alike_names(found: list[Utterance]) -> list[str]:
    spellings: dict[str, set[str]] = defaultdict(set)
    for one in found:
        spellings[one.speaker.casefold()].add(one.speaker)
    return [f"speakers {sorted(own)} differ in case alone" for own in spellings.values() if len(own) > 1]
