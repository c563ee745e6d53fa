"""A page and the figures of its runs in Weights & Biases: the page as an artifact, and to be looked at."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import wandb

from voxcert.evaluation.run.folder import endings

ARTIFACT = "report"


def log_report(
    run: Any, page: str | Path, pictures: Mapping[str, str | Path] | None = None, step: int | None = None
) -> None:
    """Logs a page to a run.

    Args:
        run: Of Weights & Biases.
        page: The HTML file.
        pictures: PNG files of the same runs, by their names.
        step: Of the training that the page is about, where Lightning's logger has its x axis.
    """
    artifact = wandb.Artifact(
        ARTIFACT, type=ARTIFACT, description="What was proved, what attacks reached, how to repeat it."
    )
    artifact.add_file(str(page), "report.html")
    run.log_artifact(artifact)
    shown = {f"{ARTIFACT}/{name}": wandb.Image(str(path)) for name, path in (pictures or {}).items()}
    moment = {} if step is None else {"trainer/global_step": step}
    run.log({ARTIFACT: wandb.Html(Path(page).read_text(encoding="utf-8"), inject=False), **shown, **moment})


def track_report(project: str, page: str | Path, pictures: Sequence[str | Path] = ()) -> None:
    """Logs a page to a new run of a project, which is kept in `wandb` beside the page.

    With WANDB_MODE=offline that takes neither an account nor a network.
    """
    folder, mode = Path(page).resolve().parent, os.environ.get("WANDB_MODE")
    with wandb.init(project=project, job_type=ARTIFACT, dir=folder, mode=mode) as run:
        folders = [Path(path).resolve().parent for path in pictures]
        names = [f"{place.name}/{Path(path).stem}" for place, path in zip(folders, pictures, strict=True)]
        ends = endings(names, folders)
        log_report(run, page, {name + end: path for name, end, path in zip(names, ends, pictures, strict=True)})
