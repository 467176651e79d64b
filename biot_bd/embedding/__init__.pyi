from .embedder import Embedder as Embedder
from .frozen_probes.attention_pool import AttentionPoolProbe as AttentionPoolProbe
from .frozen_probes.base import FrozenProbe as FrozenProbe
from .frozen_probes.knn import KNNProbe as KNNProbe
from .frozen_probes.linear import LinearProbe as LinearProbe
from .frozen_probes.mlp import MLPProbe as MLPProbe
from .frozen_probes.ridge import RidgeProbe as RidgeProbe
