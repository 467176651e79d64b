from .batch_random import BatchRandom as BatchRandom
from .folder import load_pretraining as load_pretraining
from .folder import save_pretraining as save_pretraining
from .info_nce import info_nce as info_nce
from .objective import Objective as Objective
from .pretrainer import Pretrainer as Pretrainer
from .pretraining_run import pretrain as pretrain
from .reconstruction import Reconstruction as Reconstruction
