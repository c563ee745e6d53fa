"""Measures the hearing margins of a certification run: its radii beside the masking thresholds of its utterances.

Needs no encoder. The margins are rows of their own in the run's folder.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from voxcert.attacks import Audibility
from voxcert.data.identity import check_plan, read_plan
from voxcert.evaluation.certification.folder import read_run
from voxcert.evaluation.certification.heard import check_heard
from voxcert.evaluation.hearing.row import HearingRow
from voxcert.evaluation.run.folder import PLAN
from voxcert.evaluation.run.job import SpeakerData
from voxcert.evaluation.run.lock import locked
from voxcert.rows import RowWriter, read_rows, replace_rows
from voxcert.smoothing.certificate import Certificate

HEARING = "hearing.jsonl"


def measure_hearing(folder: str | Path, data: SpeakerData) -> list[HearingRow]:
    """Measures the hearing margin of every certificate of a run and keeps them in its hearing.jsonl.

    Utterances that are there already are not heard again.

    Args:
        folder: Of a certification run, finished or not.
        data: The run's data.

    Returns:
        A row for each certificate, in their order.

    Raises:
        ValueError: If the folder is no such run, noise did not enter at its waveforms, or the data are not the run's or
            not heard as there.
    """
    folder = Path(folder)
    certificates = read_run(folder)
    if certificates[0].noise_at != "waveform":
        raise ValueError(
            f"hearing margins are about radii at the waveform, got those of the {certificates[0].noise_at} in {folder}"
        )
    check_plan(read_plan(folder / PLAN), data.plan("test"), f"the run in {folder}")
    with locked(folder):
        known = {row.utterance: row.norm_bound for row in read_rows(folder / HEARING, HearingRow)}
        items = data.items("test")
        places = {one.id: index for index, one in enumerate(data.tested("test"))}
        proofs = {row.utterance: row for row in certificates}
        with RowWriter(folder / HEARING) as writer:  # at once, for who is killed and goes on
            for name in tqdm([name for name in proofs if name not in known], "hearing", unit="utterance", leave=None):
                item = items[places[name]]
                if "waveform" in item:
                    check_heard(proofs[name], item["waveform"])
                known[name] = norm_bound(item)
                writer.write(hearing_row(one, known[name]) for one in certificates if one.utterance == name)
        rows = [hearing_row(certificate, known[certificate.utterance]) for certificate in certificates]
        replace_rows(folder / HEARING, rows)
    return rows


def norm_bound(item: dict[str, Any]) -> float | None:
    """`Audibility.norm_bound` of a test item; None if it could not be read."""
    return None if "error" in item else Audibility(item["waveform"].double()[None]).norm_bound().item()


def read_hearing(folder: str | Path) -> Sequence[HearingRow]:
    """The margins that a run's folder keeps; none where nobody measured them."""
    return read_rows(Path(folder) / HEARING, HearingRow)


def hearing_row(certificate: Certificate, bound: float | None) -> HearingRow:
    """The margin of a certificate.

    Args:
        certificate: With noise at the waveform.
        bound: `Audibility.norm_bound` of its utterance; None if that could not be read.
    """
    radius = certificate.radius if certificate.correct else 0.0
    return HearingRow(
        utterance=certificate.utterance,
        speaker=certificate.speaker,
        rule=certificate.rule,
        sigma=certificate.sigma,
        radius=radius,
        norm_bound=bound,
        margin_db=20 * math.log10(bound / radius) if bound is not None and radius > 0 else None,
        encoder=certificate.encoder,
    )
