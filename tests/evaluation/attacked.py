"""Rows of attacks made up, and the exact distances at which a linear system is turned."""

from pathlib import Path

import torch

from voxcert.evaluation.attack.row import AttackRow
from voxcert.rows import read_rows


def attack_row(utterance="u0", **changes):
    """An untargeted attack on speaker a that turned the decision to b with an l2 norm of 0.1, 20 dB."""
    values = {
        "utterance": utterance,
        "speaker": "a",
        "target": None,
        "scenario": "csi",
        "expected": "a",
        "attack": "pgd",
        "attack_settings": {"epsilon": 0.1, "norm": "l2"},
        "seed": 0,
        "encoder": "0123456789abcdef",
        "clean": "a",
        "adversarial": "b",
        "success_before": False,
        "success": True,
        "snr_db": 20.0,
        "l2": 0.1,
        "linf": 0.01,
        "seconds": 0.5,
    }
    return AttackRow(**values | changes)


def rows_of(folder):
    """The rows of an attack run."""
    return read_rows(Path(folder) / "rows.jsonl", AttackRow)


def distances(encoder, recognizer, items):
    """Smallest l2 perturbation that turns each item, {utterance: norm}: normalising scores moves no boundary."""
    directions = (encoder.weight @ recognizer.prototypes.T).double()  # (time, speakers)
    found = {}
    for item in items:
        own = recognizer.speakers.index(item["speaker"])
        scores = item["waveform"].double() @ directions
        others = [other for other in range(len(scores)) if other != own]
        gaps = torch.stack(
            [(scores[own] - scores[other]) / (directions[:, own] - directions[:, other]).norm() for other in others]
        )
        found[item["utterance"]] = max(0.0, float(gaps.min()))
    return found
