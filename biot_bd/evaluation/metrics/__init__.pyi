from .sens_fa import sens_fa_auc as sens_fa_auc
from .sens_fa import sens_fa_score as sens_fa_score
