from .comparison_page import write_comparison as write_comparison
from .pretraining_page import write_pretraining_report as write_pretraining_report
from .writer import write_report as write_report
