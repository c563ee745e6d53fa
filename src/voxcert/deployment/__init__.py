"""The smoothed recognizer that is deployed: it answers what was certified, or says that it does not know."""

from voxcert.deployment.recognizer import SmoothedRecognizer

__all__ = ["SmoothedRecognizer"]
