"""The purification job: audio files in, purified audio files out."""

from voxcert.evaluation.purification.job import purify_files
from voxcert.evaluation.purification.settings import PurifySettings

__all__ = ["PurifySettings", "purify_files"]
