from .comparison_page import write_comparison as write_comparison
from .writer import write_report as write_report
