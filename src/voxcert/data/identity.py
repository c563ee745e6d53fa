"""What a run is about: a hash of every utterance that enrols or is tested, and of the classes of a trained network.

Two runs are about the same data if and only if these are equal; where they differ, the difference is named. What
is said counts where a job reads it.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from voxcert.data.files import read_text, write_whole
from voxcert.data.names import few
from voxcert.data.same_audio import content_hash
from voxcert.data.utterance import Utterance


@dataclass(frozen=True)
class Planned:
    """One utterance of a run, without its path: data that moved are the same data.

    Attributes:
        role: Whether it enrols a speaker or is tested.
        id: Its id.
        speaker: Who speaks.
        start: First second of the stretch.
        end: Second that the stretch stops at; the end of the file when None.
        part: Part of the corpus.
        channel: Channel that is read; the average of all when None.
        content: SHA-256 of the file's bytes; "not readable" where it cannot be read.
        text: SHA-256 of what is said; None in the plan of a job that does not read it, and in older plans.
    """

    role: Literal["enrol", "test"]
    id: str
    speaker: str
    start: float
    end: float | None
    part: str
    channel: int | None
    content: str
    text: str | None = None


def planned(enroll: Iterable[Utterance], test: Iterable[Utterance], texts: bool = False) -> list[Planned]:
    """List what a run is about. Every file is read once.

    Args:
        enroll: What enrols.
        test: What is tested.
        texts: Whether what is said counts.

    Returns:
        Sorted by role, then id.
    """
    contents: dict[Path, str] = {}
    items = []
    for role, utterances in (("enrol", enroll), ("test", test)):
        for one in utterances:
            if one.path not in contents:
                contents[one.path] = content_hash(one.path)
            values = (one.id, one.speaker, one.start, one.end, one.part, one.channel)
            text = hashlib.sha256(one.text.encode("utf-8", "surrogatepass")).hexdigest() if texts else None
            items.append(Planned(role, *values, contents[one.path], text))
    return sorted(items, key=lambda item: (item.role, item.id))


def plan_hash(plan: Sequence[Planned]) -> str:
    """One SHA-256 for a whole plan.

    Args:
        plan: As `planned` makes it.
    """
    lines = sorted(json.dumps(_facts(item), sort_keys=True) for item in plan)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def write_plan(plan: Sequence[Planned], path: str | Path) -> None:
    """Keep a plan beside a run, as JSON lines.

    Args:
        plan: As `planned` makes it.
        path: File to write; an existing one is replaced.
    """
    text = "".join(json.dumps(_facts(item), ensure_ascii=False) + "\n" for item in plan)
    write_whole(path, text)


def read_plan(path: str | Path) -> list[Planned]:
    """Read what `write_plan` wrote.

    Args:
        path: The file.

    Raises:
        ValueError: It is no plan.
    """
    plan = []
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if line:
            try:
                plan.append(Planned(**json.loads(line)))
            except (TypeError, ValueError) as error:
                raise ValueError(f"{path}:{number}: must be a planned utterance, got {line[:80]!r}") from error
    return plan


def check_plan(before: Sequence[Planned], now: Sequence[Planned], where: str | Path) -> None:
    """Check that a run goes on with the data that it began with.

    Args:
        before: The plan that a run began with.
        now: The plan of the data at hand.
        where: The run's folder, for the message.

    Raises:
        ValueError: They differ; the message names the utterances that are new, gone or changed, and what of them.
    """
    old, new = ({(item.role, item.id): item for item in plan} for plan in (before, now))
    lists = {
        "new": [_named(key) for key in sorted(new.keys() - old.keys())],
        "gone": [_named(key) for key in sorted(old.keys() - new.keys())],
        "changed": [
            _changed(old[key], new[key]) for key in sorted(old.keys() & new.keys()) if _differ(old[key], new[key])
        ],
    }
    told = [f"{len(names)} {kind}: {few(names, count=5)}" for kind, names in lists.items() if names]
    if told:
        raise ValueError(
            f"{where} was made with other data: {'; '.join(told)}. Choose another output_dir, or restore the data"
        )


def check_labels(before: Mapping[str, int], now: Mapping[str, int]) -> None:
    """Check that a training run goes on with the classes that it began with.

    Args:
        before: Speaker -> class of the checkpoint.
        now: Speaker -> class of the data at hand.

    Raises:
        ValueError: They differ; the message names the speakers and the way out.
    """
    gone, new = sorted(before.keys() - now.keys()), sorted(now.keys() - before.keys())
    moved = [
        f"{name!r} was class {before[name]} and is {now[name]}"
        for name in sorted(before.keys() & now.keys())
        if before[name] != now[name]
    ]
    lists = {"gone": [repr(name) for name in gone], "new": [repr(name) for name in new], "moved": moved}
    told = [f"{len(names)} {kind}: {few(names, count=5)}" for kind, names in lists.items() if names]
    if told:
        raise ValueError(
            "the training speakers must be those of the checkpoint that is resumed, and in the same classes, got "
            f"{'; '.join(told)}. To train other speakers from its weights, leave out --ckpt_path and give the exported "
            "checkpoint as --model.init_args.init_from"
        )


def labels_hash(labels: Mapping[str, int]) -> str:
    """One SHA-256 of who is which class; unlike the names it may be published.

    Args:
        labels: Speaker -> class.
    """
    return hashlib.sha256(json.dumps(sorted(labels.items())).encode()).hexdigest()


def _named(key: tuple[str, str]) -> str:
    role, name = key
    return f"{name!r} ({role})"


def _facts(item: Planned) -> dict[str, Any]:
    """Its fields; without a text where there is none, as in older plans."""
    return {name: value for name, value in vars(item).items() if (name, value) != ("text", None)}


def _differ(old: Planned, new: Planned) -> list[str]:
    """The facts that differ, of those that both have."""
    was, now = _facts(old), _facts(new)
    return [name for name in was if name in now and was[name] != now[name]]


def _changed(old: Planned, new: Planned) -> str:
    details = [
        {"content": "other audio", "text": "another text"}.get(name)
        or f"{name} {getattr(old, name)!r} -> {getattr(new, name)!r}"
        for name in _differ(old, new)
    ]
    return f"{_named((new.role, new.id))}: {', '.join(details)}"
