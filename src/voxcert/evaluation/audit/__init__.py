"""The audit: every question about an encoder's robustness, asked in one go by the jobs of the other rooms."""

from voxcert.evaluation.audit.job import audit_encoder
from voxcert.evaluation.audit.settings import AuditSettings

__all__ = ["AuditSettings", "audit_encoder"]
