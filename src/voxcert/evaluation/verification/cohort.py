"""The cohort of a verification run: who it is, and where its names are kept for whoever deploys the run."""

import json
import random
from collections.abc import Collection
from pathlib import Path

from torch import Tensor

from voxcert.data.identity import Planned
from voxcert.encoders.base import Recognizer
from voxcert.evaluation.certification.settings import CertificationSettings
from voxcert.rows import replace_file
from voxcert.smoothing.normalization import Cohort

COHORT = "cohort.json"


def choose_cohort(
    recognizer: Recognizer, plan: Collection[Planned], busy: Collection[str], settings: CertificationSettings
) -> Cohort | None:
    """The cohort that the settings ask for; None if they ask for none.

    Args:
        recognizer: With everybody who is enrolled.
        plan: What enrols and is tested.
        busy: Speakers who are tested or claimed.
        settings: With `cohort` and `cohort_nearest`.

    Raises:
        ValueError: If there are too few such speakers; says how many.
    """
    wanted = settings.cohort
    if wanted is None:
        return None
    free = [name for name in recognizer.speakers if name not in busy]
    if isinstance(wanted, str):
        parts: dict[str, set[str]] = {}
        for one in plan:
            if one.role == "enrol":
                parts.setdefault(one.speaker, set()).add(one.part)
        found = sorted({part for name in free for part in parts[name]})
        free = [name for name in free if wanted in parts[name]]
        if len(free) < 2:
            raise ValueError(
                f"cohort must be a part with 2 or more enrolled speakers who are neither tested nor claimed, which "
                f"are in the parts {found}, got {wanted!r} with {len(free)}"
            )
    elif wanted > len(free):
        raise ValueError(
            f"cohort must be in [2, {len(free)}], the enrolled speakers who are neither tested nor claimed (with "
            f"data.distractors those of the training parts), got {wanted}"
        )
    else:
        free = sorted(random.Random(f"{settings.seed}/cohort").sample(free, wanted))
    if (settings.cohort_nearest or 2) > len(free):
        raise ValueError(
            f"cohort_nearest must be in [2, {len(free)}], the speakers of the cohort, got {settings.cohort_nearest}"
        )
    return _cohort(recognizer.prototypes, recognizer.speakers, free, settings.cohort_nearest)


def write_cohort(folder: str | Path, cohort: Cohort) -> None:
    """Keeps who the cohort is; the prototypes are among those of the run."""
    content = {"speakers": cohort.speakers, "nearest": cohort.nearest}
    replace_file(Path(folder) / COHORT, json.dumps(content, ensure_ascii=False, indent=1) + "\n")


def read_cohort(folder: str | Path, prototypes: Tensor, speakers: list[str]) -> Cohort:
    """The cohort of a finished run.

    Args:
        folder: Of the run.
        prototypes: Of the run's enrolled speakers, (speakers, dim).
        speakers: Their names.

    Raises:
        ValueError: If there is none, or it is not of these speakers.
    """
    path = Path(folder) / COHORT
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return _cohort(prototypes, speakers, content["speakers"], content["nearest"])
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} does not hold the cohort of a run: {error}") from error


def _cohort(prototypes: Tensor, speakers: list[str], names: list[str], nearest: int | None) -> Cohort:
    return Cohort(prototypes[[speakers.index(name) for name in names]], names, nearest)
