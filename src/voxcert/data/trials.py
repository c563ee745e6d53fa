"""Trials of verification: drawn from a corpus, or read from a list in the order of VoxCeleb or of Kaldi."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from voxcert.data.enrollment import shuffled
from voxcert.data.files import read_text, without_ending
from voxcert.data.names import composed, few
from voxcert.data.utterance import Utterance

WORDS = {"target": True, "nontarget": False}
ANSWERS = WORDS | {"1": True, "0": False}


@dataclass(frozen=True)
class Trial:
    """A question of verification: does the utterance come from the enrolled voice?

    Args:
        enrolled: An enrolled speaker's name, or the id of the enrolling utterance, as lists of trials have it.
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
        drawn = shuffled(others, f"{seed}/{utterance.id}")[:num_nontarget]
        trials += [Trial(other, utterance.id, False) for other in sorted(drawn)]
    return trials


def read_trials(path: str | Path, utterances: Iterable[Utterance] | None = None) -> list[Trial]:
    """Read a list of trials: `1|0 ENROLMENT TEST` as for VoxCeleb, or `ENROLMENT TEST target|nontarget` as in Kaldi.

    Args:
        path: Text file, one trial a line; the first line shows the order.
        utterances: Those of a corpus. Names in the list are matched to their ids, and to speakers where somebody is
            enrolled, with or without the ending of an audio file. Without them, names lose such an ending.

    Raises:
        ValueError: The list is empty, a line has another form, or names are not those of the corpus, or of more than
            one recording there; the message names lines.
    """
    lines = [(number, line.split()) for number, line in enumerate(read_text(path).split("\n"), start=1)]
    lines = [(number, fields) for number, fields in lines if fields]
    label_last = bool(lines) and _is_label_last(lines[0][1])
    if not lines:
        raise ValueError(f"{path}: a list of trials must have a line or more, got none")
    known = None if utterances is None else _Known(utterances)
    trials, unknown = [], []
    for number, fields in lines:
        *names, label = fields if label_last else fields[1:] + fields[:1]
        if len(names) != 2 or label not in ANSWERS:
            form = "ENROLMENT TEST target|nontarget" if label_last else "0|1 ENROLMENT TEST"
            raise ValueError(f"{path}:{number}: a line must read '{form}', got {' '.join(fields)!r}")
        try:
            enrolled, utterance = _named(names[0], known, True), _named(names[1], known, False)
            trials.append(Trial(enrolled, utterance, ANSWERS[label]))
        except ValueError as error:
            unknown.append(f"{path}:{number}: {error}")
    if unknown:
        raise ValueError(few(unknown, count=5, separator="; "))
    return trials


class _Known:
    """Ids and speakers of a corpus, to be found with or without an ending."""

    def __init__(self, utterances: Iterable[Utterance]):
        found = list(utterances)
        self.speakers = {one.speaker for one in found}
        self.ids = {one.id for one in found}
        self.bare: dict[str, set[str]] = {}
        for name in self.ids:
            self.bare.setdefault(without_ending(name), set()).add(name)


def _named(name: str, known: _Known | None, may_be_speaker: bool) -> str:
    name = composed(name)
    if known is None:
        return without_ending(name)
    if name in known.ids or (may_be_speaker and name in known.speakers):
        return name
    found = known.bare.get(without_ending(name), set())
    if len(found) != 1:
        raise ValueError(f"a trial must name an utterance of the corpus, got {name!r} ({len(found)} match)")
    return next(iter(found))


def _is_label_last(fields: list[str]) -> bool:
    """Kaldi's order; where both ends could be a label, words are one rather than numbers."""
    return fields[-1] in WORDS or (fields[0] not in ANSWERS and fields[-1] in ANSWERS)
