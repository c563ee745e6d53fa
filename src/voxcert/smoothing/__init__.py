"""Certificates by randomized smoothing; Cohen et al. 2019 for votes, Korzh et al. 2024 (corrected) for embeddings.

The one statement that every certificate makes is in `Certificate`; `Certifier` produces them.
"""

from voxcert.smoothing.certificate import ABSTAIN, Certificate
from voxcert.smoothing.certified_score import CertifiedScore
from voxcert.smoothing.certifier import Certifier
from voxcert.smoothing.claims import Decision
from voxcert.smoothing.curves import (
    abstention_rate,
    average_certified_radius,
    certified_accuracy,
    smoothed_accuracy,
    wilson_interval,
)
from voxcert.smoothing.outcome import recertify
from voxcert.smoothing.prediction import Prediction
from voxcert.smoothing.rules import RULES
from voxcert.smoothing.score_certifier import ScoreCertifier
from voxcert.smoothing.statistics import Statistics

__all__ = [
    "ABSTAIN",
    "RULES",
    "Certificate",
    "CertifiedScore",
    "Certifier",
    "Decision",
    "Prediction",
    "ScoreCertifier",
    "Statistics",
    "abstention_rate",
    "average_certified_radius",
    "certified_accuracy",
    "recertify",
    "smoothed_accuracy",
    "wilson_interval",
]
