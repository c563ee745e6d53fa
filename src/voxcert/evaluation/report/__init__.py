"""One page about any runs: what was proved, what attacks reached, how to repeat it; it needs no network."""

from voxcert.evaluation.report.page import render_report, write_report

__all__ = ["render_report", "write_report"]
