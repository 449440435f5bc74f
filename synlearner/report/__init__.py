"""One self-contained HTML page about a home, from its log alone."""

from synlearner.report.page import write_report

__all__ = ["write_report"]
