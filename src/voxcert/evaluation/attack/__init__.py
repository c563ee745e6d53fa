"""The attack job: enrol speakers, attack test utterances, measure what the system says then."""

from voxcert.evaluation.attack.job import attack_speakers
from voxcert.evaluation.attack.settings import AttackSettings

__all__ = ["AttackSettings", "attack_speakers"]
