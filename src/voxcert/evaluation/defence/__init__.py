"""The comparison of defences: verification behind purifiers, genuine and attacked, and what is left of the speech."""

from voxcert.evaluation.defence.job import compare_defences
from voxcert.evaluation.defence.settings import Defence, DefenceSettings

__all__ = ["Defence", "DefenceSettings", "compare_defences"]
