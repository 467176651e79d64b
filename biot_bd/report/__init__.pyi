from .comparison_page import write_comparison as write_comparison
from .pretraining_page import write_pretraining_report as write_pretraining_report
from .study_page import write_study_page as write_study_page
from .writer import write_report as write_report
