from .batch_random import BatchRandom as BatchRandom
from .info_nce import info_nce as info_nce
from .objective import Objective as Objective
from .pretrainer import Pretrainer as Pretrainer
from .reconstruction import Reconstruction as Reconstruction
