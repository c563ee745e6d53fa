"""One page of any runs: what was proved, what attacks reached, how to repeat it; opens from a file without a network."""

from voxcert.evaluation.report.page import render_report, write_report

__all__ = ["render_report", "write_report"]
