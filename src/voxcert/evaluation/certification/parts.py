"""Certifies few utterances on many devices: the samples of each are drawn in parts, whose counts add up.

Every part selects from the same samples and counts samples of its own, so the sum is what one pass counts: the counts
are those of Cohen et al. 2019, Algorithm 1, and sums do not care who counted.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import reduce
from pathlib import Path
from typing import Any

from lightning.fabric import Fabric

from voxcert.evaluation.certification.settings import CertificationSettings
from voxcert.evaluation.run.folder import ROWS
from voxcert.evaluation.run.job import Task, do_tasks
from voxcert.rows import Row, replace_rows
from voxcert.smoothing.certificate import Certificate
from voxcert.smoothing.outcome import recertify
from voxcert.smoothing.statistics import Statistics

PARTS = "parts"
Examined = tuple[list[Certificate], Statistics | None]


@dataclass(frozen=True)
class Part(Row):
    """What a part of an utterance's samples came to.

    Attributes:
        utterance: Id of the utterance.
        part: From 0 on.
        rows: The certificates of the part alone, as plain values.
        statistics: Its counts, as plain values; None where nothing could be counted.
    """

    utterance: str
    part: int
    rows: list[dict[str, Any]]
    statistics: dict[str, Any] | None

    @property
    def key(self) -> tuple[str, int]:
        """Utterance and part."""
        return self.utterance, self.part

    @property
    def num_forwards(self) -> int:
        """Rows sent through the encoder for it."""
        return max(row["num_forwards"] for row in self.rows)


def certify_in_parts(
    utterances: Sequence[str],
    examine: Callable[[int, tuple[int, int]], Examined],
    settings: CertificationSettings,
    fabric: Fabric,
) -> list[Examined]:
    """Certifies utterances, each in `settings.parts` parts that any process may take.

    Args:
        utterances: Their ids.
        examine: From the index of an utterance and a range of its samples to its rows and statistics.
        settings: How to certify.
        fabric: The processes.

    Returns:
        In the first process the rows of every utterance, which rows.jsonl holds too, and its statistics; in the
        others none.
    """

    def do(about: tuple[int, int]) -> list[Part]:
        index, part = about
        rows, statistics = examine(index, settings.parts[part])
        plain = None if statistics is None else statistics.to_dict()
        return [Part(utterances[index], part, [asdict(row) for row in rows], plain)]

    numbers = range(len(settings.parts))
    tasks = [Task((i, part), ((one, part),)) for i, one in enumerate(utterances) for part in numbers]
    folder = Path(settings.output_dir)
    options = {"verb": "certifying", "unit": "part", "log_format": settings.log_format}
    parts = do_tasks(tasks, do, Part, folder / PARTS, fabric, **options)
    whole = [_added_up(parts[first : first + len(numbers)]) for first in range(0, len(parts), len(numbers))]
    if fabric.is_global_zero:
        replace_rows(folder / ROWS, (row for rows, _ in whole for row in rows))
    return whole


def _added_up(parts: Sequence[Part]) -> Examined:
    """The certificates of an utterance from all its parts, which spent their time apart.

    If one has nothing to count, as where its process could not read the recording, its rows say why.
    """
    seconds = sum(part.rows[0]["seconds"] for part in parts)
    part = next((one for one in parts if one.statistics is None), parts[0])
    rows = [replace(Certificate(**row), seconds=seconds) for row in part.rows]
    if part.statistics is None:
        return rows, None
    statistics = reduce(Statistics.merge, (Statistics.from_dict(one.statistics) for one in parts))
    return [recertify(row, statistics) for row in rows], statistics
