"""The HTML report of a run: one file, readable offline."""

from biot_bd.report.writer import write_report

__all__ = ["write_report"]
