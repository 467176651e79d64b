"""Windows to embeddings by a model that stays as it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sklearn.base import BaseEstimator, TransformerMixin


class Embedder(TransformerMixin, BaseEstimator):
    """SKELETON, helper D writes it: the signature is the contract."""

    def __init__(
        self,
        module: str = "biot",
        *,
        pretrained: Any = None,
        module_params: Mapping[str, Any] | None = None,
        layer: int | str | None = None,
        pooling: str = "mean",
        engine: str = "torch",
        precision: str = "auto",
        batch_size: int = 64,
        device: str = "auto",
        cache: Any = None,
        random_state: int | None = 0,
        progress: bool = False,
    ) -> None:
        self.module, self.pretrained, self.module_params = module, pretrained, module_params
        self.layer, self.pooling, self.engine, self.precision = layer, pooling, engine, precision
        self.batch_size, self.device, self.cache = batch_size, device, cache
        self.random_state, self.progress = random_state, progress
