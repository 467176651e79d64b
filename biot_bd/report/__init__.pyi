from .comparison_page import write_comparison as write_comparison
from .embedding_page import write_embedding_report as write_embedding_report
from .pretraining_page import write_pretraining_report as write_pretraining_report
from .study_page import write_study_page as write_study_page
from .writer import write_report as write_report
