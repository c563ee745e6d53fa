"""The inversion job: reconstruct the speakers that an identification network was trained to name."""

from voxcert.evaluation.inversion.job import invert_speakers
from voxcert.evaluation.inversion.settings import Experiment, InversionSettings

__all__ = ["Experiment", "InversionSettings", "invert_speakers"]
