"""The planning job: a pilot says how sigma, samples, radius and time trade for an encoder on this device."""

from voxcert.evaluation.planning.job import plan_certification
from voxcert.evaluation.planning.settings import PlanSettings

__all__ = ["PlanSettings", "plan_certification"]
