"""The certification job: enrol speakers, certify test utterances, write rows, tables and curves."""

from voxcert.evaluation.certification.job import certify_speakers
from voxcert.evaluation.certification.settings import CertificationSettings

__all__ = ["CertificationSettings", "certify_speakers"]
