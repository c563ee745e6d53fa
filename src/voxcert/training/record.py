"""What a training wrote of itself, which no later run may replace: its config and its metrics."""

from itertools import count

import lightning as L
from lightning.pytorch.loggers import CSVLogger

from voxcert.data.paths import shown
from voxcert.training.distributed import run_folder


def check_folder(trainer: L.Trainer) -> None:
    """Refuses to validate or test in the folder of a training.

    Raises:
        ValueError: If a training's config lies where this run would log.
    """
    folder = run_folder(trainer)
    if folder is not None and (folder / "config.yaml").exists():
        raise ValueError(
            "trainer.logger must log to a folder without a training, which would lose its metrics and certificates "
            f"(--trainer.logger.init_args.version validation), got {shown(folder)!r}"
        )


def set_metrics_aside(trainer: L.Trainer) -> None:
    """Renames the metrics of a training that goes on in its folder: the logger begins the file anew."""
    folder = run_folder(trainer)
    if folder is None or not trainer.is_global_zero or not isinstance(trainer.logger, CSVLogger):
        return
    metrics = folder / "metrics.csv"
    if metrics.exists():
        names = (folder / f"metrics-{number}.csv" for number in count(1))
        metrics.rename(next(name for name in names if not name.exists()))
