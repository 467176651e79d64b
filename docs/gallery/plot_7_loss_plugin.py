"""
Write a loss as a plugin
========================

Everything that has a name can come from a plugin: data sets, montages, label rules, models, losses,
metrics, probes, callbacks. A plugin is a module with functions that are marked as hooks. Here: the
Brier score as a loss.
"""

# %%
# The loss
# --------
# A module over logits ``(n, n_outputs)`` and integer targets ``(n,)``. All settings are named
# parameters, so that a misspelt one raises.
from types import SimpleNamespace

import numpy as np
import torch
from torch import nn

from biot_bd import BIOTClassifier, registry
from biot_bd.hookspecs import hookimpl
from biot_bd.testing import check_loss


class BrierLoss(nn.Module):
    """Mean squared error of the probabilities, times ``scale``."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        if not scale > 0:
            raise ValueError(f"scale must be above 0, got {scale}")
        self.scale = scale

    def forward(self, logits, targets):
        truth = nn.functional.one_hot(targets, logits.shape[1])
        return self.scale * (logits.softmax(dim=1) - truth).square().sum(dim=1).mean()


# %%
# Does it keep the contract?
# --------------------------
# The check trains two epochs with it, tries logits of 10,000 and batches of one class, pickles it,
# and more. It says nothing where all is well.
check_loss(BrierLoss)

# %%
# And where it is not: a loss that forgets to take the mean.


class Unreduced(BrierLoss):
    def forward(self, logits, targets):
        return (logits.softmax(dim=1)[:, 1] - targets).square()


try:
    check_loss(Unreduced)
except AssertionError as error:
    print(error)

# %%
# What it computes is tested against something independent, here a case that can be worked out by
# hand.
print(BrierLoss()(torch.zeros(1, 2), torch.tensor([1])), "is", 0.5**2 + 0.5**2)


# %%
# Register it
# -----------
# An installed package declares the entry point ``biot_bd``; in a notebook, ``add_plugin`` does for
# this process.
@hookimpl
def register_losses(register):
    register("brier", BrierLoss)


registry.add_plugin(SimpleNamespace(register_losses=register_losses), "brier-example")
registry.losses

# %%
# From now on it has a name, and its parameters are reached as skorch does it.
rng = np.random.default_rng(0)
x, y = rng.standard_normal((24, 4, 800)).astype("float32"), np.arange(24) % 2
size = {"module__embed_dim": 16, "module__num_heads": 2, "module__num_layers": 1}
classifier = BIOTClassifier(criterion="brier", criterion__scale=2.0, max_epochs=2, train_split=None, verbose=0, **size)
classifier.fit(x, y)
classifier.history[:, "train_loss"]
