"""A small masked objective, small data and small nets for the tests of pretraining."""

import numpy as np
import torch
from torch import nn

from biot_bd.pretraining import Objective, Pretrainer

SIZES = {"module__embed_dim": 16, "module__num_heads": 2, "module__num_layers": 1}


class HiddenLevel(Objective):
    """Predict the level (mean log magnitude) of hidden tokens."""

    kinds = frozenset({"spectrum"})

    def __init__(self, sizes, mask_ratio=0.5):
        super().__init__(sizes)
        self.mask_ratio = mask_ratio
        self.mask_token = nn.Parameter(torch.zeros(sizes.embed_dim))
        self.head = nn.Linear(sizes.embed_dim, 1)

    def hidden(self, rng):
        n_hidden = max(1, round(self.mask_ratio * self.sizes.n_tokens))
        return rng.uniform(self.sizes.n_tokens).argsort(dim=1).argsort(dim=1) < n_hidden

    def forward(self, tokens, x, rng):
        x, present = tokens.present(x)
        there = None if present is None else present.repeat_interleave(self.sizes.n_frames, dim=1)
        patches = tokens.patches(x)
        hidden = self.hidden(rng)
        scored = hidden if there is None else hidden & there
        embedded = tokens.embed(patches)
        seen = torch.where(hidden.unflatten(1, embedded.shape[1:3])[..., None], self.mask_token, embedded)
        encoded = tokens.encode(tokens.place(seen).flatten(1, 2), there)
        target = patches.float().log1p().mean(-1).flatten(1)
        error = (self.head(encoded)[..., 0] - target).square() * scored
        loss = (error.sum(1) / scored.sum(1).clamp(min=1)).mean()
        return {"loss": loss, "masked_fraction": hidden.float().mean(), "level": target.mean(0).detach()}

    def derive(self, means):
        return {"chance": float(means["level"].var())}


def make_windows(n_subjects=4, per_subject=12, n_chans=3, n_times=400, seed=0):
    """Return windows and their subjects."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n_subjects * per_subject, n_chans, n_times)).astype(np.float32)
    return x, np.repeat([f"set/{i:02d}" for i in range(n_subjects)], per_subject)


def small_net(objective=HiddenLevel, **kwargs):
    """Return a pretrainer of a tiny BIOT."""
    settings = {**SIZES, "max_epochs": 2, "batch_size": 8, "device": "cpu", "random_state": 0, "lr": 1e-2}
    return Pretrainer("biot", objective, **{**settings, **kwargs})


def rows(net):
    """Return the history without what the clock says."""
    return [{key: value for key, value in row.items() if key != "dur"} for row in net.history]


def same_weights(a, b):
    """Say whether two nets have the same weights, bit for bit."""
    first, second = a.module_.state_dict(), b.module_.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)
