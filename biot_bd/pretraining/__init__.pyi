from .batch_random import BatchRandom as BatchRandom
<<<<<<< HEAD
=======
from .corpora import Corpora as Corpora
>>>>>>> s11-C
from .embedding_std import embedding_std as embedding_std
from .info_nce import info_nce as info_nce
from .interpolation import interpolate as interpolate
from .masked_objective import MaskedObjective as MaskedObjective
from .masks import Masking as Masking
from .objective import Objective as Objective
from .pretrainer import Pretrainer as Pretrainer
from .reconstruction import Reconstruction as Reconstruction
<<<<<<< HEAD
from .whole_batch import of_whole_batch as of_whole_batch
=======
from .target_scale import TargetScale as TargetScale
>>>>>>> s11-C
