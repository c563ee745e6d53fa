"""Certified equal error rates of a training in progress: every validation utterance claims to be each such speaker.

The rates are those of `voxcert.evaluation.verification`; `CertificationCallback` asks for them where radii are given.
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import wandb
from lightning.pytorch.loggers import WandbLogger

from voxcert.evaluation.metrics.detection import crossing_error_rate
from voxcert.evaluation.run.job import SpeakerData
from voxcert.evaluation.verification.tables import bounds_at, by_verifier
from voxcert.rows import replace_rows
from voxcert.smoothing.certified_score import CertifiedScore
from voxcert.training.progress_table import add_lines


def validation_claims(data: SpeakerData, speakers: Sequence[str]) -> list[str]:
    """The validation speakers that are enrolled.

    Args:
        data: With the stage "val".
        speakers: Who is enrolled.

    Raises:
        ValueError: If there are fewer than two, so that nobody could claim to be another.
    """
    claims = sorted({one.speaker for one in data.tested("val")} & set(speakers))
    if len(claims) < 2:
        raise ValueError(f"eer_radii needs 2 or more validation speakers, got {len(claims)} (data.num_val_speakers)")
    return claims


def certified_eers(trials: Sequence[CertifiedScore]) -> dict[str, list[float]]:
    """For each verifier its certified equal error rate at each radius of the trials, of both kinds."""
    rates: dict[str, list[float]] = {}
    for verifier, own in by_verifier(trials).items():
        for index in range(len(own[0].radii)):
            bounds, genuine = bounds_at(own, index)
            rates.setdefault(verifier, []).append(crossing_error_rate(bounds[genuine], bounds[~genuine]))
    return rates


def write_eers(trials: Sequence[CertifiedScore], folder: Path, epoch: int, step: int) -> None:
    """Writes the trials of an epoch; the rates of all epochs share one CSV."""
    replace_rows(folder / f"trials-epoch={epoch}-step={step}.jsonl", trials)
    lines = [
        f"{verifier},{radius:.6g},{rate:.6g}"
        for verifier, rates in certified_eers(trials).items()
        for radius, rate in zip(trials[0].radii, rates, strict=True)
    ]
    add_lines(folder / "certified_error_rates.csv", "verifier,radius,certified_eer", epoch, step, lines)


def log_eers(trials: Sequence[CertifiedScore], logger: WandbLogger, step: int) -> None:
    """Sends the curves and the trials of a training step to Weights & Biases."""
    rates = certified_eers(trials)
    series = wandb.plot.line_series(
        xs=trials[0].radii,
        ys=list(rates.values()),
        keys=list(rates),
        title="Certified equal error rate",
        xname="l2 radius",
    )
    records = [asdict(row) for row in trials]
    columns = list(records[0])
    table = wandb.Table(columns=columns, data=[[record[name] for name in columns] for record in records])
    logger.log_metrics({"certified/eer_curve": series, "certified/trials": table}, step)
