"""The test of a data module as a list of trials has it: what the list names enrols and is tested, and nothing else."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from voxcert.data.datamodule import SpeakerDataModule
from voxcert.data.names import few
from voxcert.data.same_audio import copies, equal_recordings, file_key, overlapping
from voxcert.data.splits import Evaluation
from voxcert.data.trials import Trial, read_trials
from voxcert.data.utterance import Utterance


@dataclass(frozen=True)
class Listed:
    """A list of trials and the data that it is about.

    Attributes:
        data: Enrols what the list claims (and speakers who are not tested, as before), and tests what it names.
        trials: Of the list, in its order.
        voices: Enrolling recording -> who speaks there; claims that are speakers are not in it.
    """

    data: SpeakerDataModule
    trials: list[Trial]
    voices: dict[str, str]


def listed(data: SpeakerDataModule, path: str | Path) -> Listed:
    """Reads a list of trials about the tested speakers of a data module.

    The enrolment side of a trial is an enrolled speaker, with the recordings that the data module enrols, or any
    recording of a tested speaker, which then enrols alone. The test side is any recording of a tested speaker.

    Args:
        data: With test speakers.
        path: As for `read_trials`.

    Raises:
        ValueError: As `read_trials`; or a trial is listed twice or with both labels, has a label that the corpus
            contradicts, or the same audio on both sides; or the list has trials of one kind only. The message names
            some of them.
    """
    split = data.split
    tested, trained = {one.speaker for one in split.test.test}, set(split.train)
    corpus = data.corpus.utterances()
    own = [one for one in corpus if one.speaker in tested and one not in trained]
    recordings = {one.id: one for one in own}
    enrolling: dict[str, list[Utterance]] = {}
    for one in split.test.enroll:
        enrolling.setdefault(one.speaker, []).append(one)
    trials = read_trials(path, [*corpus, *split.test.enroll])
    _refuse(path, "must be about tested speakers and their recordings", _untested(trials, recordings, enrolling))
    voices = {one.enrolled: recordings[one.enrolled].speaker for one in trials if one.enrolled in recordings}
    enrolling = {name: [recordings[name]] for name in voices} | {
        one.enrolled: enrolling[one.enrolled] for one in trials if one.enrolled not in voices
    }
    _check_labels(path, trials, recordings, voices)
    _refuse(path, "must not have the same audio on both sides", _same_audio(trials, recordings, enrolling))
    enroll = [replace(one, speaker=name) for name in sorted(enrolling) for one in enrolling[name]]
    others = [one for one in split.test.enroll if one.speaker not in tested | enrolling.keys()]
    test = [recordings[name] for name in sorted({one.utterance for one in trials})]
    test.sort(key=lambda one: (one.speaker, one.id))
    return Listed(data.testing(Evaluation(enroll + others, test)), trials, voices)


def _check_labels(
    path: str | Path, trials: Sequence[Trial], recordings: dict[str, Utterance], voices: dict[str, str]
) -> None:
    counts = Counter((one.enrolled, one.utterance) for one in trials)
    twice = [f"{enrolled} {utterance}" for (enrolled, utterance), count in counts.items() if count > 1]
    both = {(one.enrolled, one.utterance) for one in trials if one.target} & {
        (one.enrolled, one.utterance) for one in trials if not one.target
    }
    _refuse(path, "must not contradict each other", [" ".join(pair) for pair in sorted(both)])
    _refuse(path, "must be listed once", twice)
    wrong = [
        f"{_line(one)} ({recordings[one.utterance].speaker!r} speaks)"
        for one in trials
        if (voices.get(one.enrolled, one.enrolled) == recordings[one.utterance].speaker) != one.target
    ]
    _refuse(path, "must have the labels that the corpus's speakers say", wrong)
    num_target = sum(one.target for one in trials)
    if not 0 < num_target < len(trials):
        raise ValueError(
            f"{path}: trials must be of both kinds, got {num_target} target and {len(trials) - num_target} nontarget"
        )


def _untested(
    trials: Iterable[Trial], recordings: dict[str, Utterance], enrolling: dict[str, list[Utterance]]
) -> list[str]:
    """Names that are in the corpus, but of what is trained on."""
    claims = recordings.keys() | enrolling.keys()
    wrong = [one.utterance for one in trials if one.utterance not in recordings]
    return list(dict.fromkeys(wrong + [one.enrolled for one in trials if one.enrolled not in claims]))


def _same_audio(
    trials: Iterable[Trial], recordings: dict[str, Utterance], enrolling: dict[str, list[Utterance]]
) -> list[str]:
    used = [*(one for own in enrolling.values() for one in own), *(recordings[one.utterance] for one in trials)]
    files = {one.path: file_key(one.path) for one in used}
    copied = {frozenset(pair) for pair in copies(used) + copies(used, equal_recordings)}

    def shared(first: Utterance, second: Utterance) -> bool:
        same_file = files[first.path] == files[second.path]
        return (same_file and bool(overlapping([first, second]))) or frozenset((first, second)) in copied

    return [
        _line(trial)
        for trial in trials
        if any(shared(one, recordings[trial.utterance]) for one in enrolling[trial.enrolled])
    ]


def _line(trial: Trial) -> str:
    return f"{trial.enrolled} {trial.utterance} {'target' if trial.target else 'nontarget'}"


def _refuse(path: str | Path, rule: str, wrong: Sequence[str]) -> None:
    if wrong:
        raise ValueError(f"{path}: trials {rule}, got {len(wrong)} that do not: {few(wrong, count=5)}")
