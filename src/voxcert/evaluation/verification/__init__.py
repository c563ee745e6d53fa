"""Certified verification and open-set identification: error rates that no attack up to a radius can raise."""

from voxcert.evaluation.verification.job import verify_speakers

__all__ = ["verify_speakers"]
