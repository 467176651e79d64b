from .batch_random import BatchRandom as BatchRandom
from .embedding_std import embedding_std as embedding_std
from .info_nce import info_nce as info_nce
from .objective import Objective as Objective
from .pretrainer import Pretrainer as Pretrainer
from .reconstruction import Reconstruction as Reconstruction
from .whole_batch import of_whole_batch as of_whole_batch
