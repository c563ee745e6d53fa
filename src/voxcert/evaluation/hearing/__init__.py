"""What a certified radius sounds like: how far below the threshold of hearing everything is covered."""

from voxcert.evaluation.hearing.job import measure_hearing

__all__ = ["measure_hearing"]
