"""The HTML report of a run, and the comparison of a study: one file each, readable offline."""

from biot_bd.report.comparison_page import write_comparison
from biot_bd.report.writer import write_report

__all__ = ["write_comparison", "write_report"]
