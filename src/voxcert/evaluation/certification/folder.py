"""What a certification run's folder holds beside settings and summary: its certificates and the enrolled speakers."""

import json
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from voxcert.evaluation.run.folder import ROWS
from voxcert.rows import read_rows, replace_file
from voxcert.smoothing.certificate import Certificate

PLOT, PROTOTYPES = "certified_accuracy.png", "prototypes.safetensors"


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


def read_run(folder: str | Path) -> list[Certificate]:
    """Rows of a run, finished or not.

    Raises:
        ValueError: If there are none.
    """
    rows = read_rows(Path(folder) / ROWS, Certificate)
    if not rows:
        raise ValueError(f"{folder} must be the folder of a certification run, got one without rows ({ROWS})")
    return rows
