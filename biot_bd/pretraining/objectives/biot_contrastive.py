"""BIOT's own pretraining task: a window with frames left out is told from other windows."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from biot_bd.models.token_stages import TokenSizes, TokenStages
from biot_bd.pretraining.batch_random import BatchRandom
from biot_bd.pretraining.info_nce import info_nce
from biot_bd.pretraining.objective import Objective


class BIOTContrastive(Objective):
    """Contrast a view with frames left out and the whole window (Yang et al., 2023).

    Parameters
    ----------
    sizes : TokenSizes
    temperature : float
        Of :func:`biot_bd.pretraining.info_nce`.
    """

    across_windows = True

    def __init__(self, sizes: TokenSizes, temperature: float = 0.2) -> None:
        super().__init__(sizes)
        self.temperature = temperature
        dim = sizes.embed_dim
        self.predictor = nn.Sequential(nn.Linear(dim, dim), nn.GELU(), nn.Linear(dim, dim))

    def forward(self, tokens: TokenStages, x: Tensor, rng: BatchRandom) -> dict[str, Tensor]:
        """Return the loss, the share of right partners, and the spread of embeddings."""
        x, _ = tokens.present(x)
        placed = tokens.place(tokens.embed(tokens.patches(x)))
        kept = self._kept_frames(rng)
        whole = tokens.pool(tokens.encode(placed.flatten(1, 2)))
        masked = self.predictor(tokens.pool(tokens.encode(placed.flatten(1, 2)[:, kept.flatten()])))
        loss = info_nce(masked, whole, self.temperature)
        return {"loss": loss, "embedding_std": whole.std(0).mean(), "log_n": torch.tensor(math.log(len(x)))}

    def _kept_frames(self, rng: BatchRandom) -> Tensor:
        """Return which tokens stay, (n_chans, n_frames): a random half to all of each channel."""
        n_chans, n_frames = self.sizes.n_chans, self.sizes.n_frames
        least = n_frames // 2
        n_kept = least + (rng.shared_uniform(n_chans) * (n_frames - least)).long()
        order = rng.shared_uniform(n_chans, n_frames).argsort(dim=1).argsort(dim=1)
        return order < n_kept[:, None]

    def derive(self, means: Mapping[str, Tensor]) -> dict[str, float]:
        """Return the loss at chance."""
        return {"chance": float(means["log_n"])}
