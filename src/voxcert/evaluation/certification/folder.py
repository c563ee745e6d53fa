"""What a certification run's folder holds beside settings and summary: its certificates and the enrolled speakers."""

import json
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from voxcert.columns import Columns
from voxcert.data.identity import read_plan
from voxcert.encoders.refusals import PROTOTYPES
from voxcert.evaluation.run.folder import PLAN, ROWS, file_name, read_config
from voxcert.rows import Kind, iterate_rows, replace_file
from voxcert.smoothing.certificate import Certificate
from voxcert.smoothing.certified_score import CertifiedScore
from voxcert.smoothing.statistics import Statistics

PLOT, STATISTICS = "certified_accuracy.png", "statistics"


def write_prototypes(folder: str | Path, prototypes: Tensor, speakers: list[str]) -> None:
    """Keeps the enrolled speakers: a continued run certifies the same classifier, and a user can deploy it."""
    path = Path(folder) / PROTOTYPES
    content = save({"prototypes": prototypes.cpu().contiguous()}, metadata={"speakers": json.dumps(speakers)})
    replace_file(path, content)


def read_prototypes(folder: str | Path) -> tuple[Tensor, list[str]] | None:
    """Prototypes (speakers, dim) and names of a run's enrolled speakers; None before the enrolment.

    Raises:
        ValueError: If the file is not one that `write_prototypes` made.
    """
    path = Path(folder) / PROTOTYPES
    if not path.is_file():
        return None
    try:
        with safe_open(path, "pt") as file:
            return file.get_tensor("prototypes"), json.loads(file.metadata()["speakers"])
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} does not hold the enrolled speakers of a run: {error}") from error


def write_statistics(folder: str | Path, utterance: str, statistics: Statistics) -> None:
    """Keeps what all certificates of an utterance follow from."""
    replace_file(_statistics_path(folder, utterance), json.dumps(statistics.to_dict()))


def read_statistics(folder: str | Path, utterance: str) -> Statistics | None:
    """What `write_statistics` kept of an utterance; None if that is nothing.

    Raises:
        ValueError: If the file does not hold statistics.
    """
    path = _statistics_path(folder, utterance)
    if not path.is_file():
        return None
    try:
        return Statistics.from_dict(json.loads(path.read_text()))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} does not hold the statistics of an utterance: {error}") from error


def _statistics_path(folder: str | Path, utterance: str) -> Path:
    return Path(folder) / STATISTICS / f"{file_name(utterance)}.json"


def planned_utterances(folder: str | Path) -> int | None:
    """How many utterances a run is about, done or not; None where that was not noted."""
    path = Path(folder) / PLAN
    return sum(one.role == "test" for one in read_plan(path)) if path.is_file() else None


def read_run(folder: str | Path, kind: type[Kind] = Certificate, task: str = "certification") -> Columns[Kind]:
    """Rows of a run, finished or not.

    Args:
        folder: Of the run.
        kind: Class of the rows.
        task: What the run is called where there are none.

    Raises:
        ValueError: If there are none.
    """
    rows = Columns(kind, iterate_rows(Path(folder) / ROWS, kind))
    if not rows:
        raise ValueError(f"{folder} must be the folder of a {task} run, got one without rows ({ROWS})")
    return rows


def is_verification(folder: str | Path) -> bool:
    """Whether a folder is that of a verification run; ValueError if its config cannot be read."""
    return (read_config(folder) or {}).get("task", "identification") != "identification"


def read_trials_of_run(folder: str | Path) -> Columns[CertifiedScore]:
    """Rows of a verification run, finished or not; ValueError if there are none."""
    return read_run(folder, CertifiedScore, "verification")


def read_certified(folder: str | Path) -> Columns[Certificate] | Columns[CertifiedScore]:
    """Rows of a run of any task, finished or not; ValueError if there are none."""
    return read_trials_of_run(folder) if is_verification(folder) else read_run(folder)
